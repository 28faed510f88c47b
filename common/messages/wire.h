#pragma once

// Internal to common/messages: how the messages lie in a body. One `serialize` for each struct, in the order of its members,
// for both directions. Sizes are checked against the bytes that are left before anything is resized: cereal's own loaders
// for vectors and strings, which believe the wire, are not used.

#include <cstdint>
#include <cstring>
#include <istream>
#include <optional>
#include <ostream>
#include <span>
#include <streambuf>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include <cereal/archives/portable_binary.hpp>

#include "common/base/error.h"
#include "common/messages/control.h"
#include "common/messages/messages.h"
#include "common/messages/weight_manifest.h"

namespace troupe::wire {

/// Reads from bytes that it does not own.
class SpanBuffer final : public std::streambuf {
 public:
  explicit SpanBuffer(std::span<const std::byte> bytes) {
    char* begin = const_cast<char*>(reinterpret_cast<const char*>(bytes.data()));  // streambuf's interface; never written
    setg(begin, begin, begin + bytes.size());
  }
  std::uint64_t remaining() const { return static_cast<std::uint64_t>(egptr() - gptr()); }
};

/// Appends to a string.
class StringBuffer final : public std::streambuf {
 public:
  explicit StringBuffer(std::string& out) : out_(out) {}

 protected:
  std::streamsize xsputn(const char* bytes, std::streamsize count) override {
    out_.append(bytes, static_cast<std::size_t>(count));
    return count;
  }
  int_type overflow(int_type c) override {
    if (!traits_type::eq_int_type(c, traits_type::eof())) out_.push_back(traits_type::to_char_type(c));
    return traits_type::not_eof(c);
  }

 private:
  std::string& out_;
};

using Output = cereal::PortableBinaryOutputArchive;
using Input = cereal::PortableBinaryInputArchive;

/// The only input archive made here, so that every Input can be asked for the bytes that are left.
class BodyInput final : public Input {
 public:
  BodyInput(SpanBuffer& buffer, std::istream& stream) : Input(stream), buffer_(buffer) {}
  std::uint64_t remaining() const { return buffer_.remaining(); }

 private:
  SpanBuffer& buffer_;
};

/// The element count of what follows. @throws ProtocolError where it cannot fit into the bytes that are left.
inline std::size_t load_count(Input& ar, std::size_t element_bytes) {
  std::uint64_t count = 0;
  ar(count);
  const std::uint64_t left = static_cast<BodyInput&>(ar).remaining();
  if (count > left / element_bytes) {
    throw ProtocolError("body: a length of " + std::to_string(count) + " elements was given, at most " +
                        std::to_string(left / element_bytes) + " fit into the " + std::to_string(left) + " bytes left");
  }
  return static_cast<std::size_t>(count);
}

template <class T>
concept Number = std::is_arithmetic_v<T> && !std::is_same_v<T, bool>;
template <class T>
concept Enumeration = std::is_enum_v<T>;

template <class Archive, class T>
void field(Archive& ar, T& value) {
  ar(value);
}

template <class Archive, Enumeration E>
void field(Archive& ar, E& value) {
  auto number = static_cast<std::underlying_type_t<E>>(value);
  ar(number);
  value = static_cast<E>(number);  // validate() refuses values that have no name
}

template <class Archive>
void field(Archive& ar, bool& value) {
  std::uint8_t byte = value ? 1 : 0;
  ar(byte);
  if (byte > 1) throw ProtocolError("body: expected 0 or 1 for a yes or no, found " + std::to_string(byte));
  value = byte == 1;
}

inline void field(Output& ar, std::string& value) {
  std::uint64_t count = value.size();
  ar(count, cereal::binary_data(value.data(), value.size()));
}
inline void field(Input& ar, std::string& value) {
  value.resize(load_count(ar, 1));
  ar(cereal::binary_data(value.data(), value.size()));
}

template <class T>
void field(Output& ar, std::optional<T>& value) {
  bool given = value.has_value();
  field(ar, given);
  if (given) field(ar, *value);
}
template <class T>
void field(Input& ar, std::optional<T>& value) {
  bool given = false;
  field(ar, given);
  if (given) field(ar, value.emplace());
}

template <class T>
void field(Output& ar, std::vector<T>& values) {
  std::uint64_t count = values.size();
  ar(count);
  if constexpr (Number<T>) {
    ar(cereal::binary_data(values.data(), values.size() * sizeof(T)));
  } else {
    for (T& value : values) field(ar, value);
  }
}
template <class T>
void field(Input& ar, std::vector<T>& values) {
  values.clear();
  if constexpr (Number<T>) {
    values.resize(load_count(ar, sizeof(T)));
    ar(cereal::binary_data(values.data(), values.size() * sizeof(T)));
  } else {
    // Grown as the elements come, so that memory stays in proportion to the bytes that are really there.
    for (std::size_t left = load_count(ar, 1); left > 0; --left) field(ar, values.emplace_back());
  }
}

template <class Archive, class... Fields>
void fields(Archive& ar, Fields&... members) {
  (field(ar, members), ...);
}

/// Appends `message` to `out`.
template <class M>
void write(std::string& out, const M& message) {
  StringBuffer buffer(out);
  std::ostream stream(&buffer);
  Output ar(stream);
  ar(message);
}

/// The message in `body`, all of it. @throws ProtocolError where it is cut short, lies about a length or has bytes to spare.
template <class M>
M read(std::span<const std::byte> body) {
  try {
    SpanBuffer buffer(body);
    std::istream stream(&buffer);
    BodyInput ar(buffer, stream);
    M message;
    ar(message);
    if (buffer.remaining() != 0) {
      throw ProtocolError("body: " + std::to_string(buffer.remaining()) + " bytes follow the message's end");
    }
    return message;
  } catch (const cereal::Exception& e) {
    throw ProtocolError(std::string("body: cut short (") + e.what() + ")");
  } catch (const std::bad_alloc&) {
    throw ProtocolError("body: " + std::to_string(body.size()) + " bytes need more memory than there is");
  } catch (const std::length_error& e) {
    throw ProtocolError(std::string("body: a length is impossible (") + e.what() + ")");
  }
}

}  // namespace troupe::wire

namespace troupe {

template <class Archive>
void serialize(Archive& ar, SamplingParams& m) {
  wire::fields(ar, m.temperature, m.top_p, m.top_k, m.min_p, m.max_tokens, m.min_tokens, m.stop_ids, m.stop_texts);
}
template <class Archive>
void serialize(Archive& ar, Lease& m) {
  wire::fields(ar, m.lease_id, m.incarnation, m.group, m.attempt, m.purpose, m.seed, m.policy_version, m.samples, m.prompt_ids,
               m.sampling);
}
template <class Archive>
void serialize(Archive& ar, Completion& m) {
  wire::fields(ar, m.sample, m.token_ids, m.logprobs, m.versions, m.finish_reason, m.text);
}
template <class Archive>
void serialize(Archive& ar, RolloutGroup& m) {
  wire::fields(ar, m.lease_id, m.incarnation, m.group, m.purpose, m.completions, m.generate_s);
}
template <class Archive>
void serialize(Archive& ar, ScoreTask& m) {
  wire::fields(ar, m.lease_id, m.incarnation, m.group, m.purpose, m.row, m.completions, m.token_counts, m.finish_reasons);
}
template <class Archive>
void serialize(Archive& ar, RewardComponent& m) {
  wire::fields(ar, m.name, m.value, m.reason, m.ms);
}
template <class Archive>
void serialize(Archive& ar, Score& m) {
  wire::fields(ar, m.reward, m.components);
}
template <class Archive>
void serialize(Archive& ar, ScoredGroup& m) {
  wire::fields(ar, m.lease_id, m.incarnation, m.group, m.purpose, m.scores, m.score_s);
}
template <class Archive>
void serialize(Archive& ar, GroupRecord& m) {
  wire::fields(ar, m.group, m.purpose, m.prompt_ids, m.row, m.completions, m.scores, m.actor, m.rewarder, m.attempt);
}

template <class Archive>
void serialize(Archive& ar, Hello& m) {
  wire::fields(ar, m.role, m.name, m.host, m.pid, m.rank, m.token);
}
template <class Archive>
void serialize(Archive& ar, ModelFile& m) {
  wire::fields(ar, m.name, m.bytes);
}
template <class Archive>
void serialize(Archive& ar, Welcome& m) {
  wire::fields(ar, m.incarnation, m.run_id, m.host, m.config, m.model_files);
}
template <class Archive>
void serialize(Archive& ar, Refusal& m) {
  wire::fields(ar, m.reason, m.register_again, m.lease_id);
}
template <class Archive>
void serialize(Archive& ar, Credit& m) {
  wire::fields(ar, m.groups);
}
template <class Archive>
void serialize(Archive& ar, LeaseProgress& m) {
  wire::fields(ar, m.lease_id, m.tokens);
}
template <class Archive>
void serialize(Archive& ar, Heartbeat& m) {
  wire::fields(ar, m.policy_version, m.tokens_per_s, m.leases, m.weights_stall_s);
}
template <class Archive>
void serialize(Archive& ar, Accepted& m) {
  wire::fields(ar, m.lease_id);
}
template <class Archive>
void serialize(Archive& ar, Revoke& m) {
  wire::fields(ar, m.lease_ids);
}
template <class Archive>
void serialize(Archive& ar, Shutdown& m) {
  wire::fields(ar, m.exit_code, m.reason);
}
template <class Archive>
void serialize(Archive& ar, Goodbye& m) {
  wire::fields(ar, m.reason);
}
template <class Archive>
void serialize(Archive& ar, LearnerBeat& m) {
  wire::fields(ar, m.rank, m.pid, m.step, m.phase, m.lengthy, m.sequence, m.stop, m.age_ms);
}
template <class Archive>
void serialize(Archive& ar, StepShard& m) {
  wire::fields(ar, m.step, m.body);
}

template <class Archive>
void serialize(Archive& ar, TensorEntry& m) {
  wire::fields(ar, m.name, m.shape, m.offset_bytes, m.size_bytes);
}
template <class Archive>
void serialize(Archive& ar, WeightManifest& m) {
  wire::fields(ar, m.version, m.dtype, m.total_bytes, m.bucket_bytes, m.bucket_checksums, m.tensors, m.shared_memory);
}
template <class Archive>
void serialize(Archive& ar, ManifestRequest& m) {
  wire::fields(ar, m.version, m.newest);
}
template <class Archive>
void serialize(Archive& ar, ChunkRequest& m) {
  wire::fields(ar, m.version, m.bucket);
}
template <class Archive>
void serialize(Archive& ar, WeightChunk& m) {
  wire::fields(ar, m.version, m.bucket, m.gone, m.bytes);
}
template <class Archive>
void serialize(Archive& ar, WeightMember& m) {
  wire::fields(ar, m.gpu);
}
template <class Archive>
void serialize(Archive& ar, WeightGroup& m) {
  wire::fields(ar, m.group, m.id, m.rank, m.size);
}
template <class Archive>
void serialize(Archive& ar, WeightBroadcast& m) {
  wire::fields(ar, m.group, m.version);
}

}  // namespace troupe
