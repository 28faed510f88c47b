#include "common/reward_model/scored_text.h"

#include <doctest/doctest.h>

#include "common/base/error.h"
#include "tests/common/rollout_log/scratch_folder.h"

using namespace troupe;

namespace {

const std::filesystem::path kFolder =
    std::filesystem::path(TROUPE_TEST_DATA) / "parity/reward_models/llama";  // one id a character, <|end|> is 0

struct Fixture {
  Tokenizer tokenizer = Tokenizer::load(kFolder);

  std::string text(const TextForm& form, const nlohmann::json& row, const nlohmann::ordered_json& response,
                   const std::filesystem::path& folder = kFolder) {
    return tokenizer.decode(ScoredText(form, tokenizer, folder).ids({row, "row 1"}, response), false);
  }
};

}  // namespace

TEST_SUITE("reward_model/scored_text") {
  TEST_CASE_FIXTURE(Fixture, "question and response go through the template, and plain text ends in the end-of-text token") {
    CHECK(text({}, {{"question", "2+3?"}}, "5") == "2+3?5<|end|>");
    CHECK(text({}, {{"prompt", "2+3?"}}, "5") == "2+3?5<|end|>");
    CHECK(text({"plain", "asked", ""}, {{"asked", "2+3?"}, {"question", "no"}}, "5") == "2+3?5<|end|>");
    CHECK(text({}, {{"other", 1}}, "5") == "5<|end|>");
    CHECK(
        text({"chatml", "", ""}, {{"question", "2+3?"}}, "5") ==
        tokenizer.decode(tokenizer.encode("<|im_start|>user\n2+3?<|im_end|>\n<|im_start|>assistant\n5<|im_end|>\n", false), false));
  }

  TEST_CASE_FIXTURE(Fixture, "conversations go through the model's own template, and a response may be messages") {
    const ScratchFolder scratch;
    spill(scratch / "config.json", slurp(kFolder / "config.json"));
    spill(scratch / "chat_template.jinja", "{% for m in messages %}{{ m.role[0] ~ ':' ~ m.content ~ ';' }}{% endfor %}");
    const nlohmann::json row = {{"messages", {{{"role", "user"}, {"content", "2+3?"}}}}};
    const nlohmann::ordered_json said = {{{"role", "assistant"}, {"content", "5"}}};
    CHECK(text({}, row, "5", scratch / "") == "u:2+3?;a:5;");
    CHECK(text({}, row, said, scratch / "") == "u:2+3?;a:5;");
    CHECK(text({}, {{"question", "2+3?"}}, said, scratch / "") == "u:2+3?;a:5;");
    CHECK(text({}, {{"question", "2+3?"}}, "5", scratch / "") == "2+3?5<|end|>");
    CHECK_THROWS_WITH_AS(text({}, row, "5"), doctest::Contains("row 1: no chat template"), ConfigError);
  }

  TEST_CASE("the form is kept beside the weights") {
    const ScratchFolder scratch;
    std::filesystem::create_directories(scratch / "model");
    CHECK(read_text_form(scratch / "model") == TextForm{});
    const TextForm form{"r1", "asked", "2026-11-23"};
    write_text_form(form, scratch / "model");
    CHECK(read_text_form(scratch / "model") == form);
    spill(scratch / "model/scored_text.json", R"({"prompt": 1})");
    CHECK_THROWS_WITH_AS(read_text_form(scratch / "model"), doctest::Contains("scored_text.json"), ConfigError);
  }

  TEST_CASE("the summary is what stands behind the chain of thought") {
    CHECK(summary_of("<think>2 and 3</think>\n It is 5.\n") == "It is 5.");
    CHECK(summary_of("2 and 3</think>It is 5.") == "It is 5.");
    CHECK(summary_of("<think>a</think>b<think>c</think>d") == "d");
    CHECK(summary_of("It is 5.") == "It is 5.");
    CHECK(summary_of("<think>2 and") == "");
    CHECK(summary_of("") == "");
  }
}
