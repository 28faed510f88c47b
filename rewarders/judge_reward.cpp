#include <algorithm>
#include <atomic>
#include <cmath>
#include <map>
#include <thread>

#include "common/base/checksum.h"
#include "common/base/error.h"
#include "common/base/files.h"
#include "common/base/text.h"
#include "common/chat/chat_template.h"
#include "common/reward_model/scored_text.h"
#include "rewarders/judge_cache.h"
#include "rewarders/judge_client.h"
#include "rewarders/pattern.h"
#include "rewarders/reward_kinds.h"

namespace troupe {
namespace {

/// How a score is read from a reply.
class ScoreRule {
 public:
  /// `values`: "word=number,…", or empty. @throws ConfigError.
  ScoreRule(const std::string& pattern, const std::string& values) : pattern_(pattern_of(pattern)) {
    if (pattern_.groups() != 1) {
      throw ConfigError("pattern: expected one group, which holds the score, found " + std::to_string(pattern_.groups()));
    }
    if (values.empty()) return;
    for (const std::string_view part : split(values, ',')) {
      const std::size_t sign = part.find('=');
      const auto number = sign == std::string_view::npos ? std::nullopt : parse_double(trim(part.substr(sign + 1)));
      if (!number) throw ConfigError("values: expected word=number,…, found '" + std::string(part) + "'");
      values_[lower(trim(part.substr(0, sign)))] = *number;
    }
  }

  /// By the last match; nothing where there is none, or it is neither a number nor one of the words.
  std::optional<double> score_in(const std::string& reply) const {
    const std::optional<std::string> last = pattern_.last_group(reply);
    if (!last) return std::nullopt;
    if (values_.empty()) return parse_double(trim(*last));
    const auto found = values_.find(lower(trim(*last)));
    return found == values_.end() ? std::nullopt : std::optional(found->second);
  }

 private:
  static Pattern pattern_of(const std::string& pattern) {
    try {
      return Pattern(pattern, {.whole = false, .ignore_case = true});
    } catch (const ConfigError& error) {
      throw ConfigError(std::string("pattern: ") + error.what());
    }
  }
  static std::string lower(std::string_view text) {
    std::string result(text);
    for (char& c : result) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    return result;
  }

  Pattern pattern_;
  std::map<std::string, double> values_;
};

class JudgeReward final : public Reward {
 public:
  JudgeReward(JudgeOptions options, const std::string& prompt_file, ScoreRule rule, double timeout_s, int concurrency,
              std::string cache)
      : client_(options),
        about_("judge " + options.model + " at " + options.url),
        key_(options.url + "\n" + options.model + "\n" + shortest(options.temperature) + "\n" + std::to_string(options.max_tokens) +
             "\n"),
        prompt_(ChatTemplate::from_text(read_file(prompt_file), prompt_file)),
        rule_(std::move(rule)),
        timeout_s_(timeout_s),
        concurrency_(static_cast<std::size_t>(concurrency)),
        cache_path_(std::move(cache)) {}

  std::string prepare() override {
    cache_ = std::make_unique<JudgeCache>(cache_path_);
    return about_;
  }
  double extra_s() const override { return timeout_s_ + 1; }
  bool batches() const override { return concurrency_ > 1; }
  void check_row(const nlohmann::json& row) const override { prompt_of(row, ""); }

  Grade grade(const GradedItem& item) const override {
    const std::string prompt = prompt_of(item.row, item.completion);
    const std::string key = xxh3_128_hex(key_ + prompt);
    const auto score_in = [this](const std::string& reply) { return rule_.score_in(reply); };
    if (const auto known = cache_->find(key)) {
      if (const auto score = score_in(*known)) return {*score, "ok"};  // none: the rule was another one
    }
    const auto reply = client_.ask(
        prompt, [&](const std::string& text) { return score_in(text).has_value(); }, Deadline::after_s(timeout_s_));
    if (!reply) return {std::nullopt, "verifier_failed"};
    cache_->keep(key, *reply);
    return {score_in(*reply), "ok"};
  }

  /// Up to `concurrency` requests at once.
  std::vector<Grade> grade_all(std::span<const GradedItem> items) const override {
    std::vector<Grade> grades(items.size());
    std::vector<std::exception_ptr> failures(items.size());
    std::atomic<std::size_t> next = 0;
    std::vector<std::thread> threads;
    for (std::size_t t = 0; t < std::min(concurrency_, items.size()); ++t) {
      threads.emplace_back([&] {
        for (std::size_t i = next++; i < items.size(); i = next++) {
          try {
            grades[i] = grade(items[i]);
          } catch (...) {
            failures[i] = std::current_exception();
          }
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
    for (const std::exception_ptr& failure : failures) {
      if (failure) std::rethrow_exception(failure);
    }
    return grades;
  }

 private:
  /// @throws ConfigError naming the template's line.
  std::string prompt_of(const nlohmann::json& row, const std::string& completion) const {
    std::string question;
    try {
      question = question_of({row, "row"}, "");
    } catch (const ConfigError&) {  // a template may do without
    }
    ChatOptions options;
    options.variables = {{"row", row},
                         {"question", question},
                         {"gold", gold_of(row)},
                         {"response", completion},
                         {"summary", std::string(summary_of(completion))}};
    return prompt_.render(nlohmann::ordered_json::array(), options);
  }

  JudgeClient client_;
  std::string about_;
  std::string key_;  // of the cache, without the prompt
  ChatTemplate prompt_;
  ScoreRule rule_;
  double timeout_s_;
  std::size_t concurrency_;
  std::string cache_path_;
  std::unique_ptr<JudgeCache> cache_;
};

}  // namespace

std::unique_ptr<Reward> make_judge(RewardParameters& parameters) {
  JudgeOptions options;
  options.url = parameters.text("url", "");
  options.model = parameters.text("model", "");
  const std::string prompt_file = parameters.text("prompt_file", "");
  if (options.url.empty() || options.model.empty() || prompt_file.empty()) {
    throw ConfigError("a reward of kind judge needs the keys `url`, `model` and `prompt_file`");
  }
  const std::string key_file = parameters.text("api_key_file", "");
  if (!key_file.empty()) options.api_key = trim(read_file(key_file));
  options.temperature = parameters.number("temperature", options.temperature, 0, 100);
  options.max_tokens = static_cast<int>(parameters.number("max_tokens", options.max_tokens, 1, 1e6));
  options.retries = static_cast<int>(parameters.number("retries", options.retries, 0, 100));
  options.backoff_s = parameters.number("backoff_s", options.backoff_s, 0, 3600);
  ScoreRule rule(parameters.text("pattern", R"(\[\[(-?[0-9.]+)\]\])"), parameters.text("values", ""));
  const double timeout_s = parameters.number("timeout_s", 60, 0.01, 3600);
  const int concurrency = static_cast<int>(parameters.number("concurrency", 4, 1, 256));
  return std::make_unique<JudgeReward>(options, prompt_file, std::move(rule), timeout_s, concurrency, parameters.text("cache", ""));
}

}  // namespace troupe
