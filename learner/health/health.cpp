#include "learner/health/health.h"

#include <algorithm>

#include "common/base/metric_names.h"
#include "learner/health/signs.h"

namespace troupe {
namespace {

constexpr std::int64_t kFirstLookCompletions = 64;
constexpr std::int64_t kRemindEvery = 100;  // steps

using Kind = Health::News::Kind;

}  // namespace

std::string describe(const Finding& finding) {
  const std::string since = finding.since == 0 ? "from the start" : "since step " + std::to_string(finding.since);
  return since + ": " + finding.what + ". Likely cause: " + finding.cause;
}

Health::Health(const Config& config) : config_(config), completions_(std::int64_t{config.batch.prompts} * config.group.size) {
  if (config.optimizer.lr == 0) {
    know("weights_unchanged", "the weights do not change", "optimizer.lr = 0");
  }
  const auto weightless = [](const RewardConfig& reward) { return reward.weight == 0; };
  if (!config.rewards.empty() && std::all_of(config.rewards.begin(), config.rewards.end(), weightless)) {
    know("rewards_equal", "every reward is 0", "every [reward.NAME] has weight = 0");
  }
}

void Health::know(const std::string& check, const std::string& what, const std::string& cause) {
  State& state = states_[check];
  state.certain = true;
  begin(state, {check, what, cause});
}

Health::News Health::begin(State& state, Finding finding) {
  state.open = findings_.size();
  findings_.push_back(std::move(finding));
  return {Kind::kBegins, findings_.back()};
}

std::optional<Health::News> Health::quiet_step(State& state) {
  state.shown = 0;
  if (!state.open || ++state.quiet < config_.health.window) return std::nullopt;
  Finding& finding = findings_[*state.open];
  finding.until = state.last;
  state = State{};
  return News{Kind::kEnds, finding};
}

std::vector<Health::News> Health::first_look(const std::vector<MetricValues>& looks, std::int64_t completions) {
  std::vector<News> news;
  if (looks.empty() || completions < kFirstLookCompletions) return news;
  for (const HealthCheck& check : health_checks()) {
    State& state = states_[check.name];
    if (!check.of_completions || state.open) continue;
    std::optional<Sign> sign;
    const bool all = std::all_of(looks.begin(), looks.end(), [&](const MetricValues& metrics) {
      sign = check.read({metrics, config_, std::nullopt});
      return sign && !sign->what.empty();
    });
    if (!all) continue;
    state.last = 1;
    news.push_back(begin(state, {check.name, sign->what, sign->cause, 1}));
  }
  return news;
}

std::vector<Health::News> Health::step(std::int64_t step, const MetricValues& metrics) {
  std::vector<News> news;
  const HealthView view{metrics, config_, first_entropy_};
  for (const HealthCheck& check : health_checks()) {
    const auto sign = check.read(view);
    if (!sign) continue;
    State& state = states_[check.name];
    if (sign->what.empty()) {
      if (auto end = quiet_step(state)) news.push_back(*std::move(end));
      continue;
    }
    state.quiet = 0;
    state.last = step;
    if (++state.shown == 1) state.first = step;
    const bool enough = state.shown >= config_.health.window && state.shown * completions_ >= check.fewest_completions;
    const bool covered = check.covered_by != nullptr && states_[check.covered_by].open;
    if (!state.open && enough && !covered) {
      news.push_back(begin(state, {check.name, sign->what, sign->cause, state.first}));
    } else if (state.open && step > findings_[*state.open].since && (step - findings_[*state.open].since) % kRemindEvery == 0) {
      news.push_back({Kind::kLasts, findings_[*state.open]});
    }
  }
  if (!first_entropy_) first_entropy_ = view.value(metric::kEntropy);
  for (const RefusalCheck& check : refusal_checks()) {  // a batch was filled
    if (auto end = quiet_step(states_[check.name])) news.push_back(*std::move(end));
  }
  return news;
}

std::vector<Health::News> Health::without_batch(std::int64_t step, const std::map<std::string, std::int64_t>& refused) {
  std::vector<News> news;
  for (const RefusalCheck& check : refusal_checks()) {
    State& state = states_[check.name];
    const auto groups = refused.find(check.name);
    if (state.open || groups == refused.end() || groups->second < config_.health.window * config_.batch.prompts) continue;
    state.certain = true;
    state.last = step;
    news.push_back(begin(state, {check.name, std::to_string(groups->second) + " " + check.what, check.cause, step}));
  }
  return news;
}

std::vector<Finding> Health::current() const {
  std::vector<Finding> open;
  std::copy_if(findings_.begin(), findings_.end(), std::back_inserter(open), [](const Finding& f) { return f.until == 0; });
  return open;
}

std::optional<Finding> Health::reason_to_stop() const {
  std::optional<std::size_t> first;
  for (const auto& [check, state] : states_) {
    const bool counts = state.certain || state.shown >= config_.health.window;
    if (state.open && counts && (!first || *state.open < *first)) first = state.open;
  }
  return first ? std::optional(findings_[*first]) : std::nullopt;
}

Health health_of(const Config& config, const std::vector<MetricsLine>& lines) {
  Health health(config);
  for (const MetricsLine& line : lines) health.step(line.step, line.values);
  return health;
}

}  // namespace troupe
