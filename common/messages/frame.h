#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

namespace troupe {

/// The messages' numbers on the wire. Never reused; a changed layout gets a new kProtocolVersion (frame_test.cpp holds it to that).
enum class MessageType : std::uint16_t {
  kHello = 1,
  kWelcome = 2,
  kRefusal = 3,
  kCredit = 4,
  kHeartbeat = 5,
  kLease = 6,
  kRolloutGroup = 7,
  kScoreTask = 8,
  kScoredGroup = 9,
  kAccepted = 10,
  kRevoke = 11,
  kShutdown = 12,
  kGoodbye = 13,
  kLearnerBeat = 14,
  kStepShard = 15,
  kWeightManifest = 16,
  kManifestRequest = 17,
  kChunkRequest = 18,
  kWeightChunk = 19,
  kWeightMember = 20,
  kWeightGroup = 21,
  kWeightBroadcast = 22,
};

inline constexpr std::uint16_t kProtocolVersion = 4;
inline constexpr std::uint64_t kMaxFrameBytes = std::uint64_t{1} << 30;  // of the body
inline constexpr std::size_t kFrameHeaderBytes = 24;

/// The message's name, e.g. "Lease"; nullptr for a number that is not one.
const char* name_of(MessageType type);

/// One message as bytes: magic "TRPE", protocol version, type, body length, checksum (XXH3-64 of the body xor that of the
/// header before it), then the body in cereal's portable binary. `M` is any of the message structs; the mapping to
/// MessageType is in frame.cpp. @throws ProtocolError where the body would be longer than kMaxFrameBytes.
template <class M>
std::string encode(const M& message);

/// The type in a frame whose header, length and checksum hold. @throws ProtocolError with what was expected and found.
MessageType frame_type(std::span<const std::byte> frame);

/// The message of type M in `frame`, validated. @throws ProtocolError where the frame, its type, its body or a field is wrong.
template <class M>
M decode(std::span<const std::byte> frame);

}  // namespace troupe
