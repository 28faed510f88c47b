#include <cmath>
#include <nlohmann/json.hpp>
#include <optional>

#include "rewarders/code/program.h"
#include "rewarders/json_schema.h"
#include "rewarders/pattern.h"
#include "rewarders/reward_kinds.h"
#include "tests/fuzz/fuzzing.h"

namespace troupe {
namespace {

using Maker = std::unique_ptr<Reward> (*)(RewardParameters&);

std::unique_ptr<Reward> made(Maker maker, std::map<std::string, std::string> keys = {}) {
  const RewardConfig config{"fuzzed", "fuzzed", 1.0, std::move(keys)};
  RewardParameters parameters(config);
  return maker(parameters);
}

/// A pattern, and as a schema whatever is JSON, from the first line; matched with the rest.
void try_patterns(const std::string& first, const std::string& rest) {
  std::optional<Pattern> pattern;
  fuzzing::expect_only_config_errors([&] { pattern.emplace(first); });
  if (pattern) pattern->matches(rest);
  if (pattern && pattern->groups() > 0) pattern->last_group(rest);
  const nlohmann::json schema = nlohmann::json::parse(first, nullptr, false);
  const nlohmann::json value = nlohmann::json::parse(rest, nullptr, false);
  if (schema.is_discarded()) return;
  fuzzing::expect_only_config_errors([&] { JsonSchema(schema, "fuzzed").accepts(value); });
}

}  // namespace
}  // namespace troupe

/// The first line is a row's gold, a pattern and a schema; the rest is the completion.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace troupe;
  static const auto* const kRewards = new std::vector<std::unique_ptr<Reward>>([] {
    std::vector<std::unique_ptr<Reward>> all;
    for (const Maker maker : {make_format, make_tags, make_repetition, make_length, make_readability, make_json, make_language, make_exact,
                              make_arithmetic, make_countdown, make_math}) {
      all.push_back(made(maker, maker == make_length ? std::map<std::string, std::string>{{"max_tokens", "100"}} : std::map<std::string, std::string>{}));
    }
    return all;
  }());
  const std::string_view text = fuzzing::text_of(data, size);
  const std::size_t end = std::min(text.find('\n'), text.size());
  const std::string first(text.substr(0, end));
  const std::string completion(text.substr(std::min(end + 1, text.size())));
  const nlohmann::json row = {{"question", first}, {"gold", first.empty() ? "1" : first}, {"nums", {3, 5, 7}}, {"target", 15}, {"language", "en"}};
  for (const auto& reward : *kRewards) {
    fuzzing::expect_only_config_errors([&] {  // of the row
      const Grade grade = reward->grade({row, completion, 20, FinishReason::kStop});
      check(grade.value.has_value() && std::isfinite(*grade.value) && !grade.reason.empty(), "a grade has a value and a reason");
    });
  }
  if (const auto program = program_of(completion)) completed_prompt(first, program->text, "add");
  try_patterns(first, completion);
  return 0;
}
