#include "learner/stages/reward_rows.h"

#include <doctest/doctest.h>

#include "common/base/error.h"
#include "tests/common/rollout_log/scratch_folder.h"

using namespace troupe;

namespace {

const std::filesystem::path kFolder = std::filesystem::path(TROUPE_TEST_DATA) / "parity/reward_models/llama";  // one id a character

struct Fixture {
  ScratchFolder scratch;
  Tokenizer tokenizer = Tokenizer::load(kFolder);
  ScoredText texts{{}, tokenizer, kFolder};

  RewardRows rows(const std::string& lines, const std::string& long_prompts = "refuse", std::int64_t longest = 10) {
    spill(scratch / "rows.jsonl", lines);
    DataConfig data;
    data.long_prompts = long_prompts;
    return RewardRows("data.train", open_rows((scratch / "rows.jsonl").string(), 1), data, texts, longest,
                      Logger("test", LogLevel::kError));
  }
  std::string text(const std::vector<std::int32_t>& ids) { return tokenizer.decode(ids, true); }
  void check_refused(const std::string& line, const std::string& message) {
    CHECK_THROWS_WITH_AS(rows(line), doctest::Contains(message.c_str()), ConfigError);
  }
};

}  // namespace

TEST_SUITE("stages/reward_rows") {
  TEST_CASE_FIXTURE(Fixture, "comparisons and judgements are read in the order of the file, also mixed") {
    const auto examples = rows(
                              "{\"prompt\": \"q\", \"chosen\": \"yes\", \"rejected\": \"no\"}\n"
                              "{\"question\": \"q\", \"completion\": \"ok\", \"label\": \"safe\"}\n"
                              "{\"question\": \"q\", \"completion\": \"bad\", \"label\": \"unsafe\"}\n"
                              "{\"completion\": \"bad\", \"label\": false}\n")
                              .first(9);

    REQUIRE(examples.size() == 4);
    CHECK(text(examples[0].text) == "qyes");
    CHECK(text(examples[0].rejected) == "qno");
    CHECK(examples[0].sign == 1);
    CHECK(text(examples[1].text) == "qok");
    CHECK(examples[1].rejected.empty());
    CHECK(examples[1].sign == 1);
    CHECK(examples[2].sign == -1);
    CHECK(text(examples[3].text) == "bad");
    CHECK(examples[3].sign == -1);
  }

  TEST_CASE_FIXTURE(Fixture, "what is missing or malformed is refused by file and row") {
    check_refused("{\"prompt\": \"q\", \"chosen\": \"yes\"}\n",
                  "rows.jsonl:1: expected a text or a list of messages under \"rejected\", found the keys chosen, prompt");
    check_refused("{\"prompt\": \"q\", \"chosen\": 3, \"rejected\": \"no\"}\n", "under \"chosen\", found 3");
    check_refused("{\"prompt\": \"q\", \"completion\": \"a\", \"label\": \"fine\"}\n",
                  "expected \"safe\", \"unsafe\", true or false under \"label\", found \"fine\"");
    check_refused("{\"prompt\": \"q\", \"label\": \"safe\"}\n", "under \"completion\"");
  }

  TEST_CASE_FIXTURE(Fixture, "rows whose longer text is past the model's positions are refused, or dropped and never trained") {
    // 9 characters and the end-of-text token are 10 ids.
    const std::string fits = "{\"chosen\": \"123456789\", \"rejected\": \"1\"}\n",
                      is_long = "{\"chosen\": \"1\", \"rejected\": \"1234567890\"}\n";
    CHECK(rows(fits).size() == 1);
    check_refused(is_long, "rows.jsonl:1: a text of 11 tokens; expected at most 10");
    const RewardRows kept = rows(is_long + fits + is_long, "drop");
    CHECK(kept.size() == 1);
    for (std::uint64_t number = 0; number < 6; ++number) CHECK(text(kept.at(number).text) == "123456789");
    CHECK_THROWS_WITH_AS(rows(is_long, "drop"), doctest::Contains("data.train: all 1 rows are dropped"), ConfigError);
  }
}
