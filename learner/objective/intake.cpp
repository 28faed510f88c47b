#include "learner/objective/intake.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <string_view>

#include "common/base/error.h"

namespace troupe {

namespace {

const RewardComponent* component_named(const Score& score, std::string_view name) {
  for (const RewardComponent& component : score.components) {
    if (component.name == name) return &component;
  }
  return nullptr;
}

std::int64_t tokens_of(const Completion& completion) { return static_cast<std::int64_t>(completion.token_ids.size()); }

/// The component that says whether a completion has the demanded form.
const RewardComponent* format_of(const Config& config, const Score& score) {
  for (const RewardComponent& component : score.components) {
    const auto reward = std::find_if(config.rewards.begin(), config.rewards.end(),
                                     [&](const RewardConfig& r) { return r.name == component.name; });
    const bool by_kind = reward != config.rewards.end() && (reward->kind == "format" || reward->kind == "tags");
    if (by_kind || component.name == "format") return &component;
  }
  return nullptr;
}

double penalty_of(const Config& config, const Completion& completion) {
  return overlong_penalty(tokens_of(completion), config.sampling.max_tokens, config.loss.overlong_buffer,
                          config.loss.overlong_penalty);
}

void check_record(const GroupRecord& record) {
  const std::string group = "group " + std::to_string(record.group);
  check(record.scores.size() == record.completions.size(), group + " has a score for each completion");
  for (const Completion& completion : record.completions) {
    check(completion.logprobs.size() == completion.token_ids.size() &&
              completion.versions.size() == completion.token_ids.size(),
          group + " has a log-probability and a version for each token");
  }
}

void count_lag(const Config& config, std::int64_t step, const GroupRecord& record, IntakeMetrics& metrics) {
  const std::int64_t lag = step - 1 - static_cast<std::int64_t>(lowest_version(record));
  check(lag >= 0 && lag <= config.run.max_lag, "group " + std::to_string(record.group) + " has lag " +
                                                   std::to_string(lag) + " at step " + std::to_string(step) +
                                                   "; run.max_lag is " + std::to_string(config.run.max_lag));
  metrics.lag_sum += lag;
  metrics.lag_max = std::max(metrics.lag_max, lag);
}

void count_completion(const Config& config, const Completion& completion, const Score& score, IntakeMetrics& metrics) {
  ++metrics.completions;
  metrics.tokens += tokens_of(completion);
  metrics.tokens_max = std::max(metrics.tokens_max, tokens_of(completion));
  metrics.cut_off += completion.finish_reason == FinishReason::kLength ? 1 : 0;
  if (score.reward && std::isfinite(*score.reward)) {
    metrics.reward_min = metrics.rewards == 0 ? *score.reward : std::min(metrics.reward_min, *score.reward);
    metrics.reward_max = metrics.rewards == 0 ? *score.reward : std::max(metrics.reward_max, *score.reward);
    ++metrics.rewards;
    metrics.reward_sum += *score.reward;
    metrics.overlong_penalty_sum += penalty_of(config, completion);
  }
  const RewardComponent* accuracy = component_named(score, "accuracy");
  if (accuracy == nullptr && !score.components.empty()) accuracy = &score.components.front();
  if (accuracy != nullptr && accuracy->value) {
    ++metrics.accuracies;
    metrics.accuracy_sum += *accuracy->value;
  }
  const RewardComponent* format = format_of(config, score);
  if (format != nullptr && format->value) {
    ++metrics.formats;
    metrics.format_sum += *format->value;
  }
}

Trajectory trajectory_of(const GroupRecord& record, const Completion& completion, double reward, double advantage) {
  Trajectory trajectory;
  trajectory.group = record.group;
  trajectory.sample = completion.sample;
  trajectory.ids = record.prompt_ids;
  trajectory.ids.insert(trajectory.ids.end(), completion.token_ids.begin(), completion.token_ids.end());
  trajectory.prompt_tokens = static_cast<std::int64_t>(record.prompt_ids.size());
  trajectory.sampler_logprobs = completion.logprobs;
  trajectory.versions = completion.versions;
  trajectory.reward = reward;
  trajectory.advantage = advantage;
  trajectory.cut_off = completion.finish_reason == FinishReason::kLength;
  return trajectory;
}

std::vector<Trajectory> training_part(const Config& config, const GroupRecord& record, const GroupRewards& rewards,
                                      const GroupAdvantages& advantages, IntakeMetrics& metrics) {
  std::vector<Trajectory> result;
  for (std::size_t i = 0; i < record.completions.size(); ++i) {
    const Completion& completion = record.completions[i];
    if (!advantages[i]) {
      ++metrics.missing_reward;
    } else if (completion.token_ids.empty()) {
      ++metrics.empty;
    } else if (config.loss.overlong_mask && completion.finish_reason == FinishReason::kLength) {
      ++metrics.masked_overlong;
    } else {
      ++metrics.trained;
      metrics.tokens_trained += tokens_of(completion);
      result.push_back(trajectory_of(record, completion, *rewards[i], *advantages[i]));
    }
  }
  return result;
}

}  // namespace

GroupRewards shaped_rewards(const Config& config, const GroupRecord& record) {
  check_record(record);
  GroupRewards rewards(record.scores.size());
  for (std::size_t i = 0; i < rewards.size(); ++i) {
    const auto& reward = record.scores[i].reward;
    if (reward && std::isfinite(*reward)) rewards[i] = *reward + penalty_of(config, record.completions[i]);
  }
  return rewards;
}

IntakeMetrics look_at(const Config& config, const std::vector<GroupRecord>& records) {
  IntakeMetrics metrics;
  for (const GroupRecord& record : records) {
    ++metrics.groups;
    metrics.zero_variance_groups += rewards_are_equal(shaped_rewards(config, record)) ? 1 : 0;
    for (std::size_t i = 0; i < record.completions.size(); ++i) {
      count_completion(config, record.completions[i], record.scores[i], metrics);
    }
  }
  return metrics;
}

StepBatch make_step(const Config& config, std::int64_t step, const std::vector<GroupRecord>& records) {
  StepBatch batch;
  batch.step = step;
  batch.metrics = look_at(config, records);
  std::vector<GroupRewards> rewards;
  for (const GroupRecord& record : records) {
    rewards.push_back(shaped_rewards(config, record));
    count_lag(config, step, record, batch.metrics);
  }
  const std::vector<GroupAdvantages> step_advantages = advantages(config.loss.advantage, rewards);
  for (std::size_t g = 0; g < records.size(); ++g) {
    batch.groups.push_back(training_part(config, records[g], rewards[g], step_advantages[g], batch.metrics));
  }
  return batch;
}

}  // namespace troupe
