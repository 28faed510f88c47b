#include "common/messages/frame.h"

#include <cstring>
#include <map>
#include <random>
#include <string>

#include <doctest/doctest.h>

#include "common/base/checksum.h"
#include "common/base/error.h"
#include "tests/common/messages/samples.h"

using namespace troupe;

namespace {

std::span<const std::byte> bytes_of(const std::string& frame) { return std::as_bytes(std::span(frame.data(), frame.size())); }

template <class M>
bool refused(const std::string& frame) {
  try {
    decode<M>(bytes_of(frame));
    return false;
  } catch (const ProtocolError&) {
    return true;
  }
}

std::string reason_of(const std::string& frame) {
  try {
    decode<Lease>(bytes_of(frame));
    return "";
  } catch (const ProtocolError& e) {
    return e.what();
  }
}

bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

/// Length and checksum made right again after the frame was changed: what a hostile sender would do.
std::string resealed(std::string frame) {
  const std::uint64_t length = frame.size() - 24;
  std::memcpy(frame.data() + 8, &length, 8);
  const std::uint64_t sum = xxh3_64(std::string_view(frame).substr(0, 16)) ^ xxh3_64(std::string_view(frame).substr(24));
  std::memcpy(frame.data() + 16, &sum, 8);
  return frame;
}

}  // namespace

TEST_SUITE("messages/frame") {
  TEST_CASE("every message comes back as it was sent") {
    int kinds = 0;
    samples::for_each_message([&]<class M>(const M& message) {
      const std::string frame = encode(message);

      CAPTURE(name_of(frame_type(bytes_of(frame))));
      CHECK(decode<M>(bytes_of(frame)) == message);
      ++kinds;
    });
    CHECK(kinds == 22);
  }

  TEST_CASE("the header lies as documented and the body is cereal's portable binary") {
    const std::string frame = encode(Credit{.groups = 0x01020304});

    // magic, version 4, type 4, length 5; body: little-endian flag 1, then the number.
    CHECK(frame.substr(0, 16) == std::string("TRPE\x04\x00\x04\x00\x05\x00\x00\x00\x00\x00\x00\x00", 16));
    CHECK(frame.substr(24) == std::string("\x01\x04\x03\x02\x01", 5));
    CHECK(resealed(frame) == frame);
  }

  TEST_CASE("another layout of any message has another protocol version") {
    // XXH3-128 of type and body of every sample, by version. A changed layout raises kProtocolVersion and adds a line here; a
    // line is corrected where the samples alone have changed.
    const std::map<std::uint16_t, std::string> layouts = {{2, "6795c835a3d0ea23ea46c57b2dc32d0a"},
                                                          {3, "124d91b1119e53fa81f69bb38a4aed27"},
                                                          {4, "7598ebb99a6f632f45446f35a7f5def5"}};
    Hasher hasher;
    samples::for_each_message([&]<class M>(const M& message) {
      const std::string frame = encode(message);
      hasher.update_u64(static_cast<std::uint64_t>(frame_type(bytes_of(frame))));
      hasher.update(std::string_view(frame).substr(24));
    });

    CHECK(layouts.rbegin()->first == kProtocolVersion);
    CHECK(layouts.rbegin()->second == hasher.hex());
  }

  TEST_CASE("a wrong version is refused with both versions") {
    std::string frame = encode(samples::lease());
    frame[4] = 9;

    CHECK(contains(reason_of(resealed(frame)), "protocol version 9"));
    CHECK(contains(reason_of(resealed(frame)), "speaks version 4"));
  }

  TEST_CASE("each field of the header is checked and named") {
    const std::string good = encode(samples::lease());
    std::string magic = good, type = good, length = good, long_body = good, checksum = good;
    magic[0] = 'X';
    type[6] = 99;
    length[8] = static_cast<char>(length[8] + 1);
    long_body[15] = 1;
    checksum[16] = static_cast<char>(checksum[16] ^ 1);

    CHECK(contains(reason_of(magic), "magic"));
    CHECK(contains(reason_of(resealed(type)), "unknown message type 99"));
    CHECK(contains(reason_of(length), "bytes of body, there are"));
    CHECK(contains(reason_of(good + "x"), "bytes of body, there are"));
    CHECK(contains(reason_of(long_body), "longer than the 1073741824 allowed"));
    CHECK(contains(reason_of(checksum), "checksum"));
    CHECK(contains(reason_of(encode(samples::accepted())), "expected Lease, found Accepted"));
    CHECK(contains(reason_of(""), "0 bytes are fewer than a header's 24"));
  }

  TEST_CASE("a frame cut at any byte is refused, with a true checksum too") {
    samples::for_each_message([&]<class M>(const M& message) {
      const std::string frame = encode(message);
      CAPTURE(name_of(frame_type(bytes_of(frame))));
      for (std::size_t size = 0; size < frame.size(); ++size) {
        CHECK(refused<M>(frame.substr(0, size)));
        if (size >= 24) CHECK(refused<M>(resealed(frame.substr(0, size))));
      }
      CHECK(refused<M>(frame + '\0'));
      CHECK(refused<M>(resealed(frame + '\0')));
    });
  }

  TEST_CASE("every single flipped bit is found") {
    samples::for_each_message([&]<class M>(const M& message) {
      const std::string frame = encode(message);
      CAPTURE(name_of(frame_type(bytes_of(frame))));
      for (std::size_t bit = 0; bit < frame.size() * 8; ++bit) {
        std::string flipped = frame;
        flipped[bit / 8] = static_cast<char>(flipped[bit / 8] ^ (1 << (bit % 8)));
        CHECK_THROWS_AS(frame_type(bytes_of(flipped)), ProtocolError);
      }
    });
  }

  TEST_CASE("a hostile body with a true checksum gives a message or a ProtocolError") {
    std::mt19937 random(1);
    int taken = 0, not_taken = 0;
    samples::for_each_message([&]<class M>(const M& message) {
      const std::string frame = encode(message);
      for (int round = 0; round < 2000; ++round) {
        std::string changed = frame;
        const int changes = static_cast<int>(random() % 4) + 1;
        for (int i = 0; i < changes; ++i) changed[24 + random() % (frame.size() - 24)] = static_cast<char>(random());
        (refused<M>(resealed(changed)) ? not_taken : taken) += 1;
      }
    });
    CHECK(taken > 0);
    CHECK(not_taken > 0);
  }

  TEST_CASE("a lying length is refused before anything is allocated") {
    // Body of a StepShard: flag 1, step 8, length 8, bytes.
    std::string numbers = encode(StepShard{.step = 1, .body = "abc"});
    const std::uint64_t lie = std::uint64_t{1} << 62;
    std::memcpy(numbers.data() + 24 + 9, &lie, 8);
    std::string leases = encode(Heartbeat{.policy_version = 1, .tokens_per_s = 0, .leases = {{1, 2}}, .weights_stall_s = 0});
    std::memcpy(leases.data() + 24 + 17, &lie, 8);
    std::string ids = encode(Revoke{.lease_ids = {1, 2, 3}});
    const std::uint64_t one_too_many = 4;
    std::memcpy(ids.data() + 24 + 1, &one_too_many, 8);

    CHECK_THROWS_WITH_AS(decode<StepShard>(bytes_of(resealed(numbers))),
                         "StepShard body: a length of 4611686018427387904 elements was given, at most 3 fit into the 3 bytes left",
                         ProtocolError);
    CHECK_THROWS_WITH_AS(decode<Heartbeat>(bytes_of(resealed(leases))),
                         "Heartbeat body: a length of 4611686018427387904 elements was given, at most 24 fit into the 24 bytes left",
                         ProtocolError);
    CHECK_THROWS_WITH_AS(decode<Revoke>(bytes_of(resealed(ids))),
                         "Revoke body: a length of 4 elements was given, at most 3 fit into the 24 bytes left", ProtocolError);
  }

  TEST_CASE("a yes or no that is neither is refused") {
    std::string frame = encode(samples::manifest_request());
    frame.back() = 2;

    CHECK_THROWS_WITH_AS(decode<ManifestRequest>(bytes_of(resealed(frame))), "ManifestRequest body: expected 0 or 1 for a yes or no, found 2",
                         ProtocolError);
  }

  TEST_CASE("decode validates what it read") {
    Lease lease = samples::lease();
    lease.samples = 0;

    CHECK(contains(reason_of(encode(lease)), "Lease.samples: expected 1 to 65536, found 0"));
  }
}
