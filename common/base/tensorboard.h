#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>

namespace troupe {

// What TensorBoard reads, written by hand: protobuf messages of tensorboard/compat/proto/event.proto and summary.proto, in the
// record framing of TensorFlow's TFRecord.

/// CRC-32C (Castagnoli) of the bytes.
std::uint32_t crc32c(std::string_view bytes);

/// `data` as a TFRecord: length, masked CRC-32C of the length, data, masked CRC-32C of the data.
std::string tensorboard_record(std::string_view data);

/// The Event that every file begins with.
std::string version_event(double wall_time_s);

/// The Event that makes readers forget what earlier files say of `step` and later ones.
std::string session_start_event(double wall_time_s, std::int64_t step);

/// An Event with one scalar a name.
std::string scalar_event(double wall_time_s, std::int64_t step, const std::map<std::string, double>& values);

}  // namespace troupe
