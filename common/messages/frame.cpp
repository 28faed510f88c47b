#include "common/messages/frame.h"

#include <array>
#include <string_view>

#include "common/base/checksum.h"
#include "common/base/error.h"
#include "common/messages/wire.h"

namespace troupe {
namespace {

// The header, little-endian: magic 4, protocol version 2, type 2, body length 8, checksum 8.
constexpr std::string_view kMagic = "TRPE";
constexpr std::size_t kVersionAt = 4;
constexpr std::size_t kTypeAt = 6;
constexpr std::size_t kLengthAt = 8;
constexpr std::size_t kChecksumAt = 16;
static_assert(kChecksumAt + 8 == kFrameHeaderBytes);

template <class Int>
void put(std::string& out, std::size_t at, Int value) {
  for (std::size_t i = 0; i < sizeof(Int); ++i) out[at + i] = static_cast<char>((value >> (8 * i)) & 0xff);
}
template <class Int>
Int get(std::span<const std::byte> bytes, std::size_t at) {
  std::uint64_t value = 0;
  for (std::size_t i = 0; i < sizeof(Int); ++i) value |= std::to_integer<std::uint64_t>(bytes[at + i]) << (8 * i);
  return static_cast<Int>(value);
}

/// Of the whole frame but the checksum itself, so that a flipped bit in the header is found too.
std::uint64_t checksum_of(std::span<const std::byte> frame) {
  return xxh3_64(frame.first(kChecksumAt)) ^ xxh3_64(frame.subspan(kFrameHeaderBytes));
}

template <class M>
struct TypeOf;
#define TROUPE_MESSAGES(X)                                                                                            \
  X(Hello) X(Welcome) X(Refusal) X(Credit) X(Heartbeat) X(Lease) X(RolloutGroup) X(ScoreTask) X(ScoredGroup)         \
  X(Accepted) X(Revoke) X(Shutdown) X(Goodbye) X(LearnerBeat) X(StepShard) X(WeightManifest) X(ManifestRequest)      \
  X(ChunkRequest) X(WeightChunk) X(WeightMember) X(WeightGroup) X(WeightBroadcast)
#define TROUPE_TYPE_OF(M)                                          \
  template <>                                                      \
  struct TypeOf<M> {                                               \
    static constexpr MessageType kValue = MessageType::k##M;       \
  };
TROUPE_MESSAGES(TROUPE_TYPE_OF)

}  // namespace

const char* name_of(MessageType type) {
  switch (type) {
#define TROUPE_NAME_OF(M)    \
  case MessageType::k##M:    \
    return #M;
    TROUPE_MESSAGES(TROUPE_NAME_OF)
  }
  return nullptr;
}

MessageType frame_type(std::span<const std::byte> frame) {
  if (frame.size() < kFrameHeaderBytes) {
    throw ProtocolError("frame: " + std::to_string(frame.size()) + " bytes are fewer than a header's " +
                        std::to_string(kFrameHeaderBytes));
  }
  if (std::string_view(reinterpret_cast<const char*>(frame.data()), kMagic.size()) != kMagic) {
    throw ProtocolError("frame: expected the magic \"TRPE\", found other bytes");
  }
  const auto version = get<std::uint16_t>(frame, kVersionAt);
  if (version != kProtocolVersion) {
    throw ProtocolError("frame: protocol version " + std::to_string(version) + ", but this program speaks version " +
                        std::to_string(kProtocolVersion) + ": run the same Troupe on both sides");
  }
  const auto length = get<std::uint64_t>(frame, kLengthAt);
  if (length > kMaxFrameBytes) {
    throw ProtocolError("frame: a body of " + std::to_string(length) + " bytes is longer than the " +
                        std::to_string(kMaxFrameBytes) + " allowed");
  }
  if (length != frame.size() - kFrameHeaderBytes) {
    throw ProtocolError("frame: the header says " + std::to_string(length) + " bytes of body, there are " +
                        std::to_string(frame.size() - kFrameHeaderBytes));
  }
  if (get<std::uint64_t>(frame, kChecksumAt) != checksum_of(frame)) {
    throw ProtocolError("frame: the checksum does not match: the bytes were changed on their way");
  }
  const auto type = get<std::uint16_t>(frame, kTypeAt);
  if (name_of(static_cast<MessageType>(type)) == nullptr) {
    throw ProtocolError("frame: unknown message type " + std::to_string(type));
  }
  return static_cast<MessageType>(type);
}

template <class M>
std::string encode(const M& message) {
  std::string frame(kFrameHeaderBytes, '\0');
  wire::write(frame, message);
  const std::uint64_t length = frame.size() - kFrameHeaderBytes;
  if (length > kMaxFrameBytes) {
    throw ProtocolError(std::string(name_of(TypeOf<M>::kValue)) + ": " + std::to_string(length) +
                        " bytes are more than a frame's " + std::to_string(kMaxFrameBytes));
  }
  frame.replace(0, kMagic.size(), kMagic);
  put(frame, kVersionAt, kProtocolVersion);
  put(frame, kTypeAt, static_cast<std::uint16_t>(TypeOf<M>::kValue));
  put(frame, kLengthAt, length);
  put(frame, kChecksumAt, checksum_of(std::as_bytes(std::span(frame.data(), frame.size()))));
  return frame;
}

template <class M>
M decode(std::span<const std::byte> frame) {
  const MessageType type = frame_type(frame);
  const std::string name = name_of(TypeOf<M>::kValue);
  if (type != TypeOf<M>::kValue) throw ProtocolError("frame: expected " + name + ", found " + name_of(type));
  try {
    M message = wire::read<M>(frame.subspan(kFrameHeaderBytes));
    message.validate();
    return message;
  } catch (const ProtocolError& e) {
    const std::string what = e.what();
    throw ProtocolError(what.starts_with(name) ? what : name + " " + what);
  }
}

#define TROUPE_INSTANTIATE(M)              \
  template std::string encode(const M&);   \
  template M decode(std::span<const std::byte>);
TROUPE_MESSAGES(TROUPE_INSTANTIATE)

}  // namespace troupe
