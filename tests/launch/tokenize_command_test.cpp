#include "launch/tokenize_command.h"

#include <doctest/doctest.h>

#include <filesystem>
#include <limits>
#include <string>

#include "common/base/error.h"
#include "launch/rows_io.h"
#include "tests/common/rollout_log/scratch_folder.h"

namespace fs = std::filesystem;
using troupe::ConfigError;

namespace {

const fs::path kModel = fs::path(TROUPE_TEST_DATA) / "data/tinystories-656k";

struct Fixture {
  troupe::ScratchFolder folder;
  fs::path in = folder / "in.jsonl";
  fs::path out = folder / "out.jsonl";

  void check_refused(const std::string& rows, const char* message) {
    troupe::spill(in, rows);
    CHECK_THROWS_WITH_AS(troupe::run_tokenize(kModel, in, out), doctest::Contains(message), ConfigError);
    CHECK_THROWS_WITH_AS(troupe::run_tokenize(kModel, in, out), doctest::Contains(in.c_str()), ConfigError);
    CHECK_FALSE(fs::exists(out));
  }
};

}  // namespace

TEST_SUITE("launch/tokenize_command") {
  TEST_CASE_FIXTURE(Fixture, "texts become ids without special tokens of its own, ids become text with theirs") {
    troupe::spill(in, "{\"text\": \"Once upon a time\"}\n{\"ids\": [1, 80, 147, 201, 2]}\n{\"text\": \"\"}\n");
    CHECK(troupe::run_tokenize(kModel, in, out) == 0);
    CHECK(troupe::slurp(out) ==
          "{\"ids\":[80,147,201,282,57],\"text\":\"Once upon a time\"}\n"
          "{\"ids\":[1,80,147,201,2],\"text\":\"<|start_story|> Once  <|end_story|>\"}\n"
          "{\"ids\":[],\"text\":\"\"}\n");
  }

  TEST_CASE_FIXTURE(Fixture, "a bad row is refused by file and number, and no output is left") {
    check_refused("{\"text\": \"a\"}\n{\"x\": 1}\n", "in.jsonl:2: expected exactly one of the keys");
    check_refused("{\"text\": \"a\", \"ids\": []}\n", "in.jsonl:1: expected exactly one of the keys");
    check_refused("{\"text\": 1}\n", "in.jsonl:1: key \"text\": expected a string");
    check_refused("{\"ids\": 1}\n", "in.jsonl:1: \"ids\": expected an array");
    check_refused("{\"ids\": [1, \"a\"]}\n", "in.jsonl:1: key \"ids\": expected an integer");
    check_refused("{\"ids\": [2048]}\n", "in.jsonl:1: token id 2048 is out of range");
    check_refused("{\"ids\": [4294967296]}\n", "in.jsonl:1: token id 4294967296 is out of range");
    check_refused("{\"ids\": [-1]}\n", "in.jsonl:1: token id -1 is out of range");
  }
}

TEST_SUITE("launch/rows_io") {
  TEST_CASE_FIXTURE(Fixture, "numbers are written so that they read back as the same bits") {
    const double values[] = {0.1, 1.0 / 3.0, -1e-300, double{-0.10536051541566849f}, 5e-324};
    {
      troupe::RowsWriter writer(out);
      for (const double value : values) writer.write({{"x", value}});
      CHECK_FALSE(fs::exists(out));
      writer.close();
    }
    const auto rows = troupe::read_rows(out);
    REQUIRE(rows.size() == 5);
    for (std::size_t i = 0; i < rows.size(); ++i) CHECK(rows[i].json["x"].get<double>() == values[i]);
  }

  TEST_CASE_FIXTURE(Fixture,
                    "a number that is not finite is refused, and an unfinished file is not left under the name") {
    {
      troupe::RowsWriter writer(out);
      CHECK_THROWS_AS(writer.write({{"x", {1.0, std::numeric_limits<double>::quiet_NaN()}}}), ConfigError);
    }
    CHECK_FALSE(fs::exists(out));
    CHECK_FALSE(fs::exists(out.string() + ".partial"));
    CHECK_THROWS_WITH_AS(troupe::RowsWriter(folder / "absent/out.jsonl"), doctest::Contains("cannot be written"),
                         ConfigError);
  }
}
