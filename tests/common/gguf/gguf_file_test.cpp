#include "common/gguf/gguf_file.h"

#include <doctest/doctest.h>

#include <cstring>
#include <filesystem>
#include <limits>
#include <string>

#include "common/base/error.h"
#include "tests/common/gguf/gguf_bytes.h"
#include "tests/common/rollout_log/scratch_folder.h"

using troupe::ConfigError;
using troupe::GgufFile;
using troupe::testing::GgufBytes;

namespace {

constexpr std::uint32_t kU32 = 4, kF32 = 6, kBool = 7, kText = 8, kList = 9, kI64 = 11;

struct Fixture {
  troupe::ScratchFolder folder;
  std::filesystem::path path = folder / "m.gguf";

  GgufFile read(const GgufBytes& file) {
    troupe::spill(path, file.bytes);
    return GgufFile(path);
  }
  void check_refused(const GgufBytes& file, const char* part_of_message) {
    troupe::spill(path, file.bytes);
    CHECK_THROWS_WITH_AS(GgufFile{path}, doctest::Contains(part_of_message), ConfigError);
    CHECK_THROWS_WITH_AS(GgufFile{path}, doctest::Contains("m.gguf"), ConfigError);
  }
};

/// Two tensors after one key: 12 floats (48 bytes) at 0, 2 at 64.
GgufBytes two_tensors(std::uint64_t second_offset = 64) {
  GgufBytes file;
  file.header(2, 1).key("general.architecture", kText).add("llama");
  file.tensor("a", 3, 4, 0, 0).tensor("b", 1, 2, 0, second_offset).data(64 + 8);
  return file;
}

}  // namespace

TEST_SUITE("gguf/gguf_file") {
  TEST_CASE_FIXTURE(Fixture, "keys of all types are read") {
    GgufBytes file;
    file.header(0, 6).key("count", kU32).add(std::uint32_t{7}).key("eps", kF32).add(1e-5f).key("on", kBool).add(std::uint8_t{1});
    file.key("name", kText).add("caf\xC3\xA9").key("low", kI64).add(std::int64_t{-3});
    file.key("list", kList).add(kText).add(std::uint64_t{2}).add("x").add("");

    const nlohmann::json metadata = read(file).metadata();

    CHECK(metadata["count"] == 7);
    CHECK(metadata["eps"].get<double>() == 1e-5);  // not 9.99999974737875e-06
    CHECK(metadata["on"] == true);
    CHECK(metadata["name"] == "caf\xC3\xA9");
    CHECK(metadata["low"] == -3);
    CHECK(metadata["list"] == nlohmann::json::array({"x", ""}));
  }

  TEST_CASE_FIXTURE(Fixture, "tensors have their dimensions outermost first and their bytes") {
    GgufBytes bytes = two_tensors();
    const std::size_t data = bytes.bytes.size() - 72;
    const float values[] = {1.5f, -2.0f};
    std::memcpy(bytes.bytes.data() + data + 64, values, sizeof(values));

    const GgufFile file = read(bytes);

    CHECK(file.tensors().at("a").shape == std::vector<std::int64_t>{3, 4});
    CHECK(file.tensors().at("a").bytes.size() == 48);
    CHECK(file.tensors().at("b").elements == 2);
    CHECK(std::memcmp(file.tensors().at("b").bytes.data(), values, sizeof(values)) == 0);
  }

  TEST_CASE_FIXTURE(Fixture, "general.alignment is kept to") {
    GgufBytes file;
    file.header(2, 1).key("general.alignment", kU32).add(std::uint32_t{8}).tensor("a", 1, 1, 0, 0).tensor("b", 1, 1, 0, 8).data(12, 8);
    CHECK(read(file).tensors().at("b").bytes.size() == 4);
    for (const std::uint32_t wrong : {0u, 12u, 1u << 21}) {
      GgufBytes other;
      other.header(0, 1).key("general.alignment", kU32).add(wrong);
      check_refused(other, "general.alignment\": expected a power of two");
    }
  }

  TEST_CASE_FIXTURE(Fixture, "a file cut at any byte is refused") {
    const std::string whole = two_tensors().bytes;
    for (std::size_t size = 0; size < whole.size(); ++size) {
      CAPTURE(size);
      GgufBytes file;
      file.bytes = whole.substr(0, size);
      troupe::spill(path, file.bytes);
      CHECK_THROWS_AS(GgufFile{path}, ConfigError);
    }
    CHECK_NOTHROW(read(two_tensors()));
  }

  TEST_CASE_FIXTURE(Fixture, "tensors that overlap, leave gaps, repeat or go past the end are refused by name") {
    check_refused(two_tensors(32), "tensor \"b\" begins at offset 32 of the data, expected 64");
    check_refused(two_tensors(96), "tensor \"b\" begins at offset 96 of the data, expected 64");
    GgufBytes twice;
    twice.header(2, 0).tensor("a", 1, 1, 0, 0).tensor("a", 1, 1, 0, 32).data(64);
    check_refused(twice, "tensor \"a\" stands twice");
    GgufBytes longer = two_tensors();
    longer.bytes += std::string(32, 'x');
    check_refused(longer, "the tensors need 72 bytes, the file has 104 after its tables");
    GgufBytes padded = two_tensors();
    padded.bytes += std::string(24, '\0');
    CHECK_NOTHROW(read(padded));
  }

  TEST_CASE_FIXTURE(Fixture, "absurd lengths are refused before memory is set aside for them") {
    const std::uint64_t huge = std::uint64_t{1} << 60;
    check_refused(GgufBytes().header(0, huge), "cut short: key 0's length");
    check_refused(GgufBytes().header(huge, 0), "cut short: the name of tensor 0's length");
    check_refused(GgufBytes().header(0, 1).add(huge), "key 0 is announced with 1152921504606846976 bytes");
    GgufBytes text, list;
    check_refused(text.header(0, 1).key("k", kText).add(huge), "cut short: key \"k\" takes 1152921504606846976 bytes");
    check_refused(list.header(0, 1).key("k", kList).add(std::uint32_t{0}).add(huge), "key \"k\" announces 1152921504606846976 elements");
    const auto most = std::numeric_limits<std::int64_t>::max();
    for (const std::int64_t rows : {std::int64_t{1} << 62, most, std::int64_t{-1}, std::int64_t{0}}) {
      GgufBytes tensor;
      check_refused(tensor.header(1, 0).tensor("t", rows, 4, 0, 0).data(64), "tensor \"t\": shape [");
    }
    GgufBytes large;
    check_refused(large.header(1, 0).tensor("t", std::int64_t{1} << 40, 4, 0, 0).data(64), "cut short: tensor \"t\" takes 17592186044416 bytes");
  }

  TEST_CASE_FIXTURE(Fixture, "lists of many short elements may not blow up") {
    GgufBytes file;
    file.header(0, 1).key("k", kList).add(std::uint32_t{0}).add(std::uint64_t{(1 << 24) + 1});
    file.bytes.append((1 << 24) + 1, 'x');
    check_refused(file, "at most 16777216 are allowed");
  }

  TEST_CASE_FIXTURE(Fixture, "wrong types and forms are refused by key or tensor") {
    GgufBytes other;
    other.bytes = "GGML";
    check_refused(other, "does not begin with \"GGUF\"");
    check_refused(GgufBytes().header(0, 0, 1), "GGUF version 1 is not supported");
    check_refused(GgufBytes().header(0, 0, 3u << 24), "big-endian");
    check_refused(GgufBytes().header(0, 1).key("k", 13).data(64), "key \"k\": expected a type from 0 to 12, found 13");
    check_refused(GgufBytes().header(0, 1).key("k", kBool).add(std::uint8_t{2}), "expected 0 or 1");
    check_refused(GgufBytes().header(0, 1).key("k", kText).add("\xff"), "key \"k\" is not UTF-8");
    check_refused(GgufBytes().header(0, 2).key("k", kU32).add(1u).key("k", kU32).add(1u), "key \"k\" stands twice");
    check_refused(GgufBytes().header(0, 1).key("k", kList).add(kList).add(std::uint64_t{0}), "lists of lists");
    check_refused(GgufBytes().header(1, 0).tensor("t", 1, 32, 6, 0).data(64), "tensor \"t\": GGML type 6 is not supported; F32 (0)");
    check_refused(GgufBytes().header(1, 0).tensor("t", 4, 8, 2, 0).data(64), "rows of shape [4,8] are no whole blocks of 32 numbers");
    check_refused(GgufBytes().header(1, 0).add("t").add(5u).data(64), "expected up to 4 dimensions, found 5");
  }
}
