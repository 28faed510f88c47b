#include "common/rollout_log/rollout_log.h"

#include <string>
#include <utility>
#include <vector>

#include <doctest/doctest.h>
#include <zstd.h>

#include "common/base/error.h"
#include "common/rollout_log/framed_file.h"
#include "tests/common/messages/samples.h"
#include "tests/common/rollout_log/scratch_folder.h"

using namespace troupe;

namespace {

GroupRecord record_of(std::uint64_t group) {
  GroupRecord record = samples::group_record();
  record.group = group;
  return record;
}

}  // namespace

TEST_SUITE("rollout_log/rollout_log") {
  TEST_CASE("records come back by place, over files and openings") {
    const ScratchFolder folder;
    std::vector<RolloutPlace> places;
    for (int opening = 0; opening < 2; ++opening) {
      RolloutLogWriter writer(folder / "rollouts", 700);
      CHECK(writer.cut_bytes() == 0);
      for (int i = 0; i < 10; ++i) places.push_back(writer.append(record_of(places.size())));
      writer.sync();
    }

    CHECK(places.front().file == 0);
    CHECK(places.back().file >= 3);
    for (std::size_t i = 1; i < places.size(); ++i) {
      CHECK(std::pair(places[i - 1].file, places[i - 1].offset) < std::pair(places[i].file, places[i].offset));
    }
    RolloutLogReader reader(folder / "rollouts");
    for (std::size_t i = places.size(); i-- > 0;) CHECK(reader.read(places[i]) == record_of(i));
    for (std::uint32_t file = 0; file < places.back().file; ++file) {
      const auto size = std::filesystem::file_size(folder / ("rollouts/00000" + std::to_string(file) + ".log"));
      CHECK(size >= 700);
      CHECK(size < 1400);
    }
  }

  TEST_CASE("begin_file puts what follows into a new file, unless the present one is empty") {
    const ScratchFolder folder;
    RolloutLogWriter writer(folder / "r");
    writer.begin_file();
    const RolloutPlace first = writer.append(record_of(0));
    writer.begin_file();
    writer.begin_file();
    const RolloutPlace second = writer.append(record_of(1));

    CHECK(first.file == 0);
    CHECK(second == RolloutPlace{1, 0, second.size});
    RolloutLogReader reader(folder / "r");
    CHECK(reader.read(first) == record_of(0));
    CHECK(reader.read(second) == record_of(1));
  }

  TEST_CASE("a body is the record's bytes in one zstd frame with a checksum") {
    const ScratchFolder folder;
    const RolloutPlace place = RolloutLogWriter(folder / "r").append(record_of(7));

    const Frame frame = FramedFileReader(folder / "r/000000.log").at({place.offset, place.size});
    std::string bytes(10000, '\0');
    const std::size_t size = ZSTD_decompress(bytes.data(), bytes.size(), frame.body.data(), frame.body.size());
    REQUIRE_FALSE(ZSTD_isError(size));
    CHECK(bytes.substr(0, size) == serialize_record(record_of(7)));
    CHECK((static_cast<unsigned char>(frame.body[4]) & 4) != 0);  // RFC 8878: Content_Checksum_flag
  }

  TEST_CASE("a torn tail is cut with a note and the records before it stay") {
    const ScratchFolder folder;
    RolloutPlace first, second;
    {
      RolloutLogWriter writer(folder / "r");
      first = writer.append(record_of(0));
      second = writer.append(record_of(1));
    }
    for (std::uint64_t kept = 0; kept < second.size; ++kept) {  // every byte of the last record
      std::filesystem::resize_file(folder / "r/000000.log", second.offset + kept);

      RolloutLogWriter writer(folder / "r");
      CHECK(writer.cut_bytes() == kept);
      CHECK(writer.append(record_of(1)) == second);
      RolloutLogReader reader(folder / "r");
      CHECK(reader.read(first) == record_of(0));
      CHECK(reader.read(second) == record_of(1));
    }
  }

  TEST_CASE("a missing or corrupt record is named by file and offset") {
    const ScratchFolder folder;
    RolloutLogWriter writer(folder / "r");
    const RolloutPlace place = writer.append(record_of(0));
    RolloutLogReader reader(folder / "r");
    const std::string path = (folder / "r/000000.log").string();

    CHECK_THROWS_WITH_AS(reader.read({0, place.size, 10}), (path + ": corrupt at offset " + std::to_string(place.size) +
                         ": expected a frame of 10 bytes, the file ends at " + std::to_string(place.size)).c_str(), ConfigError);
    CHECK_THROWS_AS(reader.read({1, 0, place.size}), ConfigError);
    writer.append(record_of(1));
    reader.check_file(0);
    CHECK_THROWS_AS(reader.check_file(1), ConfigError);
    std::string bytes = slurp(path);
    bytes.back() = static_cast<char>(bytes.back() ^ 1);
    spill(path, bytes);
    CHECK_THROWS_WITH_AS(reader.check_file(0), doctest::Contains(path.c_str()), ConfigError);
    reader.read(place);
    bytes[place.size - 1] = static_cast<char>(bytes[place.size - 1] ^ 1);
    spill(path, bytes);
    CHECK_THROWS_AS(RolloutLogReader(folder / "r").read(place), ConfigError);
    CHECK_THROWS_AS(RolloutLogWriter(folder / "r"), ConfigError);
  }

  TEST_CASE("a whole frame that holds no record is refused") {
    const ScratchFolder folder;
    std::filesystem::create_directory(folder / "r");
    FramedFileWriter file(folder / "r/000000.log");
    const FramePosition no_zstd = file.append(1, "not zstd");
    const FramePosition other_type = file.append(9, "x");
    std::string packed(100, '\0');
    packed.resize(ZSTD_compress(packed.data(), packed.size(), "x", 1, 1));
    const FramePosition no_record = file.append(1, packed);

    RolloutLogReader reader(folder / "r");
    for (const FramePosition& place : {no_zstd, other_type, no_record}) {
      CHECK_THROWS_AS(reader.read({0, place.offset, place.size}), ConfigError);
    }
  }
}
