#include "common/rollout_log/framed_file.h"

#include <sys/stat.h>

#include <cstring>
#include <string>
#include <vector>

#include <doctest/doctest.h>

#include "common/base/checksum.h"
#include "common/base/error.h"
#include "tests/common/rollout_log/scratch_folder.h"

using namespace troupe;

namespace {

constexpr std::uint64_t kHeader = 32;

/// The bodies of all whole frames.
std::vector<std::string> bodies_in(const std::filesystem::path& path) {
  FramedFileReader reader(path);
  std::vector<std::string> bodies;
  while (auto frame = reader.next()) bodies.push_back(frame->body);
  return bodies;
}

std::string error_of(const std::filesystem::path& path) {
  try {
    bodies_in(path);
    return "";
  } catch (const ConfigError& e) {
    return e.what();
  }
}

/// Three frames of 10, 0 and 5 bytes of body.
void write_three(const std::filesystem::path& path) {
  FramedFileWriter writer(path);
  writer.append(1, "ten bytes.");
  writer.append(2, "");
  writer.append(3, "five.");
  writer.sync();
}

}  // namespace

TEST_SUITE("rollout_log/framed_file") {
  TEST_CASE("frames come back in order and by place, also over a second opening") {
    const ScratchFolder folder;
    FramePosition last;
    write_three(folder / "f");
    {
      FramedFileWriter writer(folder / "f");
      CHECK(writer.cut_bytes() == 0);
      last = writer.append(4, "again");
    }

    FramedFileReader reader(folder / "f");
    const auto first = reader.next();
    REQUIRE(first);
    CHECK(first->type == 1);
    CHECK(first->body == "ten bytes.");
    CHECK(first->position.offset == 0);
    CHECK(first->position.size == kHeader + 10);
    CHECK(reader.next()->type == 2);
    CHECK(reader.next()->body == "five.");
    CHECK(reader.at(last).body == "again");
    CHECK(reader.at(last).type == 4);
    CHECK(reader.next()->body == "again");
    CHECK(!reader.next());
    CHECK(reader.torn_bytes() == 0);
  }

  TEST_CASE("the header lies as documented") {
    const ScratchFolder folder;
    FramedFileWriter(folder / "f").append(0x0102, "abc");

    const std::string bytes = slurp(folder / "f");
    std::uint64_t body_sum = 0, header_sum = 0;
    std::memcpy(&body_sum, bytes.data() + 16, 8);
    std::memcpy(&header_sum, bytes.data() + 24, 8);
    CHECK(bytes.size() == 35);
    CHECK(bytes.substr(0, 16) == std::string("TRFF\x02\x01\0\0\x03\0\0\0\0\0\0\0", 16));
    CHECK(body_sum == xxh3_64(std::string_view("abc")));
    CHECK(header_sum == xxh3_64(std::string_view(bytes).substr(0, 24)));
  }

  TEST_CASE("a file cut anywhere in its last frame loses that frame alone, and is written on") {
    const ScratchFolder folder;
    write_three(folder / "whole");
    const std::string whole = slurp(folder / "whole");
    const std::size_t kept = 2 * kHeader + 10;

    for (std::size_t size = kept; size < whole.size(); ++size) {
      CAPTURE(size);
      spill(folder / "f", whole.substr(0, size));
      FramedFileReader reader(folder / "f");
      CHECK(reader.next()->body == "ten bytes.");
      CHECK(reader.next()->body == "");
      CHECK(!reader.next());
      CHECK(reader.torn_bytes() == size - kept);

      FramedFileWriter writer(folder / "f");
      CHECK(writer.cut_bytes() == size - kept);
      CHECK(std::filesystem::file_size(folder / "f") == kept);
      CHECK(writer.append(4, "new").offset == kept);
      CHECK(bodies_in(folder / "f") == std::vector<std::string>{"ten bytes.", "", "new"});
    }
  }

  TEST_CASE("every flipped bit is found and named by file and offset, in the last frame too") {
    const ScratchFolder folder;
    write_three(folder / "whole");
    const std::string whole = slurp(folder / "whole");
    const auto offset_of = [&](std::size_t byte) {
      return byte < kHeader + 10 ? std::size_t{0} : byte < 2 * kHeader + 10 ? kHeader + 10 : 2 * kHeader + 10;
    };

    for (std::size_t bit = 0; bit < whole.size() * 8; ++bit) {
      std::string flipped = whole;
      flipped[bit / 8] = static_cast<char>(flipped[bit / 8] ^ (1 << (bit % 8)));
      spill(folder / "f", flipped);

      const std::string error = error_of(folder / "f");
      CAPTURE(bit);
      CHECK(error.starts_with((folder / "f").string() + ": corrupt at offset " + std::to_string(offset_of(bit / 8)) + ": "));
      CHECK_THROWS_AS(FramedFileWriter(folder / "f"), ConfigError);
      CHECK(slurp(folder / "f") == flipped);  // nothing was cut from a corrupt file
    }
  }

  TEST_CASE("a place that is not a frame's is refused") {
    const ScratchFolder folder;
    write_three(folder / "f");
    FramedFileReader reader(folder / "f");

    CHECK(reader.at({kHeader + 10, kHeader}).type == 2);
    CHECK_THROWS_AS(reader.at({kHeader + 10, kHeader + 1}), ConfigError);
    CHECK_THROWS_AS(reader.at({1, kHeader + 10}), ConfigError);
    CHECK_THROWS_AS(reader.at({3 * kHeader + 15, kHeader}), ConfigError);
    CHECK_THROWS_AS(reader.at({~std::uint64_t{0}, kHeader}), ConfigError);
  }

  TEST_CASE("a reader at work finds what is appended after it was opened") {
    const ScratchFolder folder;
    FramedFileWriter writer(folder / "f");
    FramedFileReader reader(folder / "f");

    const FramePosition place = writer.append(1, "later");
    CHECK(reader.at(place).body == "later");
  }

  TEST_CASE("a full disk is an error that names the file") {
    FramedFileWriter writer("/dev/full");
    CHECK_THROWS_WITH_AS(writer.append(1, "x"), "cannot write /dev/full: No space left on device", TransportError);
  }

  TEST_CASE("a failed fsync is an error that names the file, and the last thing that the writer does") {
    const ScratchFolder folder;
    const std::string pipe = (folder / "pipe").string();
    REQUIRE(::mkfifo(pipe.c_str(), 0600) == 0);  // fsync of a pipe is refused by the kernel
    FramedFileWriter writer(pipe);

    for (int i = 0; i < 2; ++i) {
      try {
        writer.sync();
        FAIL_CHECK("sync succeeded");
      } catch (const TransportError& e) {
        CHECK(std::string(e.what()).find(pipe) != std::string::npos);
      }
    }
    CHECK_THROWS_AS(writer.append(1, "x"), TransportError);
  }

  TEST_CASE("what cannot be opened is named") {
    CHECK_THROWS_AS(FramedFileReader("/nonexistent/f"), ConfigError);
    CHECK_THROWS_AS(FramedFileWriter("/nonexistent/f"), ConfigError);
  }
}
