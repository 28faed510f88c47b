#include <algorithm>

#include "common/base/error.h"
#include "common/base/text.h"
#include "common/data/rows.h"
#include "rewarders/answer.h"
#include "rewarders/maths/choices.h"
#include "rewarders/maths/equivalence.h"
#include "rewarders/maths/extraction.h"
#include "rewarders/pattern.h"
#include "rewarders/reward_kinds.h"

namespace troupe {
namespace {

Grade right_or_wrong(bool right) { return right ? Grade{1.0, "ok"} : Grade{0.0, "wrong"}; }
Grade no_answer() { return {0.0, "no_answer"}; }

/// The value of the row's gold or, where that is none, of its question's expression.
Rational arithmetic_gold(const nlohmann::json& row) {
  const std::string gold = gold_of(row);
  if (const auto value = parse_number(gold)) return *value;
  const auto found = row.find("question");
  std::string question = found != row.end() && found->is_string() ? found->get<std::string>() : "";
  while (!question.empty() && (question.back() == '=' || question.back() == '?' || question.back() == ' ')) question.pop_back();
  if (const auto value = evaluate_arithmetic(question, nullptr)) return *value;
  throw ConfigError("a reward of kind arithmetic expects a number under \"gold\" or \"answer\" or an expression under \"question\", found \"" +
                    gold + "\" and \"" + question + "\"");
}

class MathReward final : public Reward {
 public:
  MathReward(std::vector<std::string> sources, EquivalenceOptions options) : sources_(std::move(sources)), options_(options) {}
  Grade grade(const GradedItem& item) const override {
    const std::string gold = gold_answer(needed_gold(item.row, "math"));
    const auto answer = final_answer(item.completion, sources_, is_choice_gold(gold));
    return answer ? right_or_wrong(same_answer(*answer, gold, options_)) : no_answer();
  }
  std::optional<std::string> answer(const std::string& completion) const override { return final_answer(completion, sources_); }
  bool same(const std::string& a, const std::string& b) const override { return a == b || same_answer(a, b, options_); }
  void check_row(const nlohmann::json& row) const override { needed_gold(row, "math"); }

 private:
  std::vector<std::string> sources_;
  EquivalenceOptions options_;
};

class ExactReward final : public Reward {
 public:
  ExactReward(std::vector<std::string> sources, bool whole) : sources_(std::move(sources)), whole_(whole) {}
  Grade grade(const GradedItem& item) const override {
    const std::string gold = needed_gold(item.row, "exact");
    const auto given = answer(item.completion);
    return given ? right_or_wrong(*given == trim(gold)) : no_answer();
  }
  std::optional<std::string> answer(const std::string& completion) const override {
    const auto found = whole_ ? std::optional(completion) : final_answer(completion, sources_);
    return found ? std::optional(std::string(trim(*found))) : std::nullopt;
  }
  void check_row(const nlohmann::json& row) const override { needed_gold(row, "exact"); }

 private:
  std::vector<std::string> sources_;
  bool whole_;
};

class ArithmeticReward final : public Reward {
 public:
  explicit ArithmeticReward(std::vector<std::string> sources) : sources_(std::move(sources)) {}
  Grade grade(const GradedItem& item) const override {
    const Rational expected = arithmetic_gold(item.row);
    const auto answer = final_answer(item.completion, sources_);
    if (!answer) return no_answer();
    const auto given = parse_number(*answer);
    return right_or_wrong(given && *given == expected);
  }
  std::optional<std::string> answer(const std::string& completion) const override { return final_answer(completion, sources_); }
  bool same(const std::string& a, const std::string& b) const override {
    const auto first = parse_number(a), second = parse_number(b);
    return a == b || (first && second && *first == *second);
  }
  void check_row(const nlohmann::json& row) const override { arithmetic_gold(row); }

 private:
  std::vector<std::string> sources_;
};

class CountdownReward final : public Reward {
 public:
  CountdownReward(std::vector<std::string> sources, double partial) : sources_(std::move(sources)), partial_(partial) {}
  Grade grade(const GradedItem& item) const override {
    check_row(item.row);
    const nlohmann::json& nums = item.row["nums"];
    const nlohmann::json& target = item.row["target"];
    auto answer = final_answer(item.completion, sources_);
    if (!answer) return no_answer();
    *answer = answer->substr(0, answer->find('='));  // "(1+2)*3 = 9" states its own value
    std::vector<Rational> used;
    const auto value = evaluate_arithmetic(*answer, &used);
    std::vector<Rational> given;
    for (const auto& number : nums) given.push_back(parse_number(number.is_string() ? number.get<std::string>() : number.dump()).value_or(-1));
    std::sort(used.begin(), used.end());
    std::sort(given.begin(), given.end());
    if (!value || used != given) return {0.0, "wrong"};
    const auto wanted = parse_number(target.is_string() ? target.get<std::string>() : target.dump());
    return wanted && *value == *wanted ? Grade{1.0, "ok"} : Grade{partial_, "wrong"};
  }
  void check_row(const nlohmann::json& row) const override {
    const auto nums = row.find("nums");
    if (nums != row.end() && nums->is_array() && row.contains("target")) return;
    throw ConfigError("a reward of kind countdown expects a list under \"nums\" and a number under \"target\", found the keys " + keys_of(row));
  }

 private:
  std::vector<std::string> sources_;
  double partial_;
};

class RegexReward final : public Reward {
 public:
  RegexReward(const std::string& pattern, bool full) : pattern_(pattern, {.whole = full}) {}
  Grade grade(const GradedItem& item) const override { return right_or_wrong(pattern_.matches(item.completion)); }

 private:
  Pattern pattern_;
};

std::vector<std::string> sources_of(RewardParameters& parameters, const std::string& fallback = "tag,boxed,hash") {
  return parameters.words("from", fallback, answer_sources());
}

}  // namespace

std::unique_ptr<Reward> make_math(RewardParameters& parameters) {
  auto sources = sources_of(parameters, join(usual_answer_sources(), ","));
  return std::make_unique<MathReward>(std::move(sources), EquivalenceOptions{.ordered_lists = parameters.flag("ordered", false)});
}

std::unique_ptr<Reward> make_exact(RewardParameters& parameters) {
  auto sources = sources_of(parameters);
  return std::make_unique<ExactReward>(std::move(sources), parameters.flag("whole", false));
}

std::unique_ptr<Reward> make_arithmetic(RewardParameters& parameters) {
  return std::make_unique<ArithmeticReward>(sources_of(parameters));
}

std::unique_ptr<Reward> make_countdown(RewardParameters& parameters) {
  auto sources = sources_of(parameters);
  return std::make_unique<CountdownReward>(std::move(sources), parameters.number("partial", 0.0, -1.0, 1.0));
}

std::unique_ptr<Reward> make_regex(RewardParameters& parameters) {
  const std::string pattern = parameters.text("pattern", "");
  if (pattern.empty()) throw ConfigError("a reward of kind regex needs the key `pattern`");
  return std::make_unique<RegexReward>(pattern, parameters.flag("full", false));
}

}  // namespace troupe
