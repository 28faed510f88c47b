#include "common/base/tensorboard.h"

#include <array>
#include <bit>

namespace troupe {
namespace {

constexpr std::uint32_t kCastagnoliReflected = 0x82F63B78;

constexpr std::array<std::uint32_t, 256> crc_table() {
  std::array<std::uint32_t, 256> table{};
  for (std::uint32_t byte = 0; byte < table.size(); ++byte) {
    std::uint32_t crc = byte;
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1) != 0 ? kCastagnoliReflected : 0);
    table[byte] = crc;
  }
  return table;
}

constexpr std::array<std::uint32_t, 256> kCrcTable = crc_table();

/// TFRecord stores checksums masked, so that a checksum over data with checksums in it stays good.
std::uint32_t masked_crc(std::string_view bytes) { return std::rotr(crc32c(bytes), 15) + 0xa282ead8u; }

template <class T>
std::string little_endian(T value) {
  std::string bytes;
  for (std::size_t i = 0; i < sizeof(T); ++i) bytes += static_cast<char>(value >> (8 * i) & 0xff);
  return bytes;
}

std::string varint(std::uint64_t value) {
  std::string bytes;
  for (; value >= 0x80; value >>= 7) bytes += static_cast<char>((value & 0x7f) | 0x80);
  return bytes + static_cast<char>(value);
}

enum WireType : std::uint64_t { kVarint = 0, kFixed64 = 1, kBytes = 2, kFixed32 = 5 };

std::string tag(std::uint64_t field, WireType type) { return varint(field << 3 | type); }

std::string bytes_field(std::uint64_t field, std::string_view bytes) {
  return tag(field, kBytes) + varint(bytes.size()) + std::string(bytes);
}

/// Event.wall_time = 1 and, as proto3 leaves zeros out, Event.step = 2.
std::string event_head(double wall_time_s, std::int64_t step) {
  std::string head = tag(1, kFixed64) + little_endian(std::bit_cast<std::uint64_t>(wall_time_s));
  if (step != 0) head += tag(2, kVarint) + varint(static_cast<std::uint64_t>(step));
  return head;
}

}  // namespace

std::uint32_t crc32c(std::string_view bytes) {
  std::uint32_t crc = 0xffffffff;
  for (const char c : bytes) crc = (crc >> 8) ^ kCrcTable[(crc ^ static_cast<unsigned char>(c)) & 0xff];
  return ~crc;
}

std::string tensorboard_record(std::string_view data) {
  const std::string length = little_endian(static_cast<std::uint64_t>(data.size()));
  return length + little_endian(masked_crc(length)) + std::string(data) + little_endian(masked_crc(data));
}

std::string version_event(double wall_time_s) {
  return event_head(wall_time_s, 0) + bytes_field(3, "brain.Event:2");  // Event.file_version
}

std::string session_start_event(double wall_time_s, std::int64_t step) {
  const std::string session_log = tag(1, kVarint) + varint(1);  // SessionLog.status = START
  return event_head(wall_time_s, step) + bytes_field(7, session_log);
}

std::string scalar_event(double wall_time_s, std::int64_t step, const std::map<std::string, double>& values) {
  std::string summary;
  for (const auto& [name, value] : values) {
    const std::uint32_t bits = std::bit_cast<std::uint32_t>(static_cast<float>(value));
    summary +=
        bytes_field(1, bytes_field(1, name) + tag(2, kFixed32) + little_endian(bits));  // Value.tag, .simple_value
  }
  return event_head(wall_time_s, step) + bytes_field(5, summary);
}

}  // namespace troupe
