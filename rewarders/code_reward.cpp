#include <algorithm>

#include "common/base/error.h"
#include "common/base/strict_json.h"
#include "common/base/text.h"
#include "common/data/rows.h"
#include "rewarders/code/cpp_function.h"
#include "rewarders/code/output_tests.h"
#include "rewarders/code/program.h"
#include "rewarders/code/python_tests.h"
#include "rewarders/reward_kinds.h"

namespace troupe {
namespace {

constexpr const char* kWhere = "row";
constexpr double kBusy = 5;    // a program may take so many times its limit where the machine is short of cores
constexpr double kStartS = 60; // starting and ending sandboxes there

std::string text_of(const nlohmann::json& row, const std::string& key) { return json_get_or<std::string>(row, key, "", kWhere); }

std::vector<std::string> texts_of(const nlohmann::json& row, const std::string& key) {
  std::vector<std::string> texts;
  const auto found = row.find(key);
  if (found == row.end() || found->is_null()) return texts;
  if (!found->is_array()) throw ConfigError(std::string(kWhere) + ": \"" + key + "\": expected a list of texts, found " + found->dump());
  for (const auto& text : *found) texts.push_back(json_as<std::string>(text, key, kWhere));
  return texts;
}

/// Whether the row's tests are calls of a function: {"args", "output"}.
bool calls_function(const nlohmann::json& row) {
  const nlohmann::json& list = row.at("tests");
  return list.is_array() && !list.empty() && list.front().is_object() && list.front().contains("args");
}

/// The C++ program that makes the row's calls.
std::string calling_program(const nlohmann::json& row, const std::string& program) {
  std::vector<nlohmann::json> calls;
  for (const auto& test : row.at("tests")) {
    calls.push_back(json_member(test, "args", kWhere));
    if (!calls.back().is_array()) throw ConfigError(std::string(kWhere) + ": \"args\": expected a list of arguments, found " + calls.back().dump());
  }
  const auto entry_point = json_get<std::string>(row, "entry_point", kWhere);
  return with_calls(completed_cpp_prompt(text_of(row, "prompt"), program, entry_point), entry_point, calls);
}

std::vector<OutputTest> output_tests_of(const nlohmann::json& row) {
  const nlohmann::json& list = row.at("tests");
  if (!list.is_array() || list.empty()) {
    throw ConfigError(std::string(kWhere) + ": \"tests\": expected a list of {\"input\", \"output\"} or {\"args\", \"output\"}, found " + list.dump());
  }
  std::vector<OutputTest> tests;
  for (const auto& test : list) {
    if (calls_function(row)) {
      json_member(test, "args", kWhere);
      tests.push_back({std::to_string(tests.size()), json_member(test, "output", kWhere).dump(), true});
      continue;
    }
    tests.push_back({json_get<std::string>(test, "input", kWhere), json_get<std::string>(test, "output", kWhere)});
  }
  return tests;
}

PythonItem python_item_of(const nlohmann::json& row, const std::string& program) {
  PythonItem item;
  item.program = program;
  if (row.contains("test")) {
    item.check = json_get<std::string>(row, "test", kWhere);
    item.entry_point = json_get<std::string>(row, "entry_point", kWhere);
    item.stub = text_of(row, "prompt");
    item.program = completed_prompt(item.stub, program, item.entry_point);
    return item;
  }
  item.asserts = texts_of(row, "test_list");
  if (item.asserts.empty()) {
    throw ConfigError("a reward of kind code expects \"test\" with \"entry_point\", \"test_list\" or \"tests\", found the keys " + keys_of(row));
  }
  item.setup = join(texts_of(row, "test_imports"), "\n") + "\n" + text_of(row, "test_setup_code");
  return item;
}

/// The language that the row wants, if it does.
std::optional<Language> language_in(const nlohmann::json& row) {
  const std::string lang = text_of(row, "lang");
  const auto language = language_named(lang);
  const std::string where = std::string(kWhere) + ": \"lang\": ";
  if (!lang.empty() && !language) throw ConfigError(where + "expected python or cpp, found \"" + lang + "\"");
  if (language == Language::kCpp && !row.contains("tests")) {
    throw ConfigError(where + "programs in C++ are tested by \"tests\" alone, found the keys " + keys_of(row));
  }
  if (row.contains("tests") && calls_function(row) && language != Language::kCpp) {
    throw ConfigError(where + "tests by \"args\" are of C++ alone: expected \"cpp\", found \"" + lang + "\"");
  }
  return language;
}

class CodeReward final : public Reward {
 public:
  CodeReward(const SandboxLimits& limits, bool share) : limits_(limits), share_(share) {}

  std::string prepare() override {
    sandbox_ = std::make_unique<Sandbox>();
    python_tests_ = std::make_unique<PythonTests>(*sandbox_);
    return "code sandbox: " + sandbox_->describe();
  }
  void check_row(const nlohmann::json& row) const override {
    language_in(row);
    if (!row.contains("tests")) {
      python_item_of(row, "");
      return;
    }
    output_tests_of(row);
    if (calls_function(row)) calling_program(row, "");
  }
  double extra_s() const override { return kBusy * (kCompileS + limits_.time_s) + kStartS; }

  Grade grade(const GradedItem& item) const override {
    check(sandbox_ != nullptr, "a code reward is prepared before it grades");
    const auto program = program_of(item.completion);
    const auto wanted = language_in(item.row);
    if (!program) return {0.0, "no_answer"};
    const Language language = wanted.value_or(program->language.value_or(Language::kPython));
    const Verdict verdict = verdict_on(item.row, program->text, language);
    if (verdict.reason == "verifier_failed") return {std::nullopt, verdict.reason};
    const double share = verdict.total == 0 ? 0.0 : static_cast<double>(verdict.passed) / static_cast<double>(verdict.total);
    if (share_) return {share, verdict.reason};
    return {verdict.reason == "ok" ? 1.0 : 0.0, verdict.reason};
  }

 private:
  Verdict verdict_on(const nlohmann::json& row, const std::string& program, Language language) const {
    if (row.contains("tests")) {
      const std::string text = calls_function(row) ? calling_program(row, program) : program;
      return run_output_tests(*sandbox_, text, language, output_tests_of(row), limits_, share_);
    }
    const PythonItem item = python_item_of(row, program);
    // Where only Python can be right, another language is a wrong answer.
    if (language != Language::kPython) return {0, 1, "compile_error"};
    return python_tests_->run(item, limits_, share_);
  }

  SandboxLimits limits_;
  bool share_;
  std::unique_ptr<Sandbox> sandbox_;
  std::unique_ptr<PythonTests> python_tests_;
};

}  // namespace

std::unique_ptr<Reward> make_code(RewardParameters& parameters) {
  SandboxLimits limits;
  limits.time_s = parameters.number("time_s", limits.time_s, 0.1, 3600);
  limits.memory_bytes = static_cast<std::uint64_t>(parameters.number("memory_mib", 1024, 16, 1 << 20)) << 20;
  const auto score = parameters.words("score", "all", {"all", "share"});
  return std::make_unique<CodeReward>(limits, score.front() == "share");
}

}  // namespace troupe
