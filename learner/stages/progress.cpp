#include "learner/stages/progress.h"

#include <algorithm>
#include <cstdio>
#include <iostream>

#include "common/base/metric_names.h"

namespace troupe {
namespace {

template <class... Arguments>
std::string formatted(const char* format, Arguments... arguments) {
  const int size = std::snprintf(nullptr, 0, format, arguments...);
  std::string text(static_cast<std::size_t>(size), '\0');
  std::snprintf(text.data(), text.size() + 1, format, arguments...);
  return text;
}

double ratio(double sum, std::int64_t count) { return count > 0 ? sum / static_cast<double>(count) : 0.0; }

/// Metrics by name, as they are put in.
struct Values {
  std::map<std::string, double> values;
  void put(std::string_view name, double value) { values[std::string(name)] = value; }
  void put_mean(std::string_view name, double sum, std::int64_t count) {
    if (count > 0) put(name, sum / static_cast<double>(count));
  }
};

}  // namespace

std::map<std::string, double> metrics_of(const IntakeMetrics& intake) {
  Values v;
  v.put_mean(metric::kReward, intake.reward_sum, intake.rewards);
  if (intake.rewards > 0) {
    v.put(metric::kRewardMin, intake.reward_min);
    v.put(metric::kRewardMax, intake.reward_max);
  }
  v.put_mean(metric::kAccuracy, intake.accuracy_sum, intake.accuracies);
  v.put_mean(metric::kFormat, intake.format_sum, intake.formats);
  v.put_mean(metric::kZeroVarianceShare, static_cast<double>(intake.zero_variance_groups), intake.groups);
  v.put_mean(metric::kLengthMean, static_cast<double>(intake.tokens), intake.completions);
  v.put(metric::kLengthMax, static_cast<double>(intake.tokens_max));
  v.put_mean(metric::kCutOffShare, static_cast<double>(intake.cut_off), intake.completions);
  v.put_mean(metric::kLagMean, static_cast<double>(intake.lag_sum), intake.groups);
  v.put(metric::kLagMax, static_cast<double>(intake.lag_max));
  return std::move(v.values);
}

std::map<std::string, double> metrics_of(const StepReport& report) {
  const IntakeMetrics& intake = report.intake;
  const PolicyMetrics& policy = report.train.policy;
  Values v{metrics_of(intake)};
  v.put(metric::kLoss, report.train.loss);
  v.put(metric::kGradNorm, report.train.grad_norm);
  v.put(metric::kUpdatesSkipped, static_cast<double>(report.train.skipped));
  v.put(metric::kLr, report.train.lr);
  v.put_mean(metric::kKl, policy.kl_sum, policy.tokens);
  v.put_mean(metric::kEntropy, report.train.entropy_sum, policy.tokens);
  v.put_mean(metric::kClipShare, static_cast<double>(policy.clipped), policy.tokens);
  if (const auto& critic = report.train.critic) {
    v.put(metric::kValueLoss, critic->loss);
    v.put(metric::kValueClipShare, critic->clip_share);
    v.put(metric::kExplainedVariance, critic->explained_variance);
  }
  const SamplerMismatch& mismatch = report.train.mismatch;
  v.put_mean(metric::kRatioMeanAbsLog, mismatch.sum, mismatch.tokens);
  v.put(metric::kRatioMaxAbsLog, mismatch.largest);
  v.put(metric::kRatioEffectiveShare, mismatch.effective_share());
  if (report.times.step > 0) v.put(metric::kTokensPerS, static_cast<double>(intake.tokens) / report.times.step);
  v.put(metric::kStepS, report.times.step);
  v.put(metric::kWaitS, report.times.wait);
  v.put(metric::kTrainS, report.times.train);
  v.put(metric::kCollectiveWaitS, report.train.collective_wait_s);
  v.put(metric::kPublishS, report.times.publish);
  v.put(metric::kWeightsStallS, report.hub.weights_stall_s);
  v.put(metric::kQueueLeased, static_cast<double>(report.hub.leased));
  v.put(metric::kQueueScoring, static_cast<double>(report.hub.scoring));
  v.put(metric::kQueueScored, static_cast<double>(report.hub.scored));
  return std::move(v.values);
}

std::string human_duration(double seconds) {
  const auto total = static_cast<long>(std::max(0.0, seconds));
  if (total >= 3600) return formatted("%ldh%02ldm", total / 3600, total / 60 % 60);
  if (total >= 60) return formatted("%ldm%02lds", total / 60, total % 60);
  return formatted("%lds", total);
}

std::string progress_text(const StepReport& report) {
  const IntakeMetrics& intake = report.intake;
  const double tokens_per_s = report.times.step > 0 ? static_cast<double>(intake.tokens) / report.times.step : 0.0;
  std::string line = formatted("reward %.3f", ratio(intake.reward_sum, intake.rewards));
  if (intake.accuracies > 0) line += formatted("  accuracy %.3f", ratio(intake.accuracy_sum, intake.accuracies));
  line += formatted("  length %.0f  %.0f tok/s  %.2f s", ratio(static_cast<double>(intake.tokens), intake.completions), tokens_per_s,
                    report.times.step);
  line += formatted("  queue %lld/%lld/%lld", static_cast<long long>(report.hub.leased), static_cast<long long>(report.hub.scoring),
                    static_cast<long long>(report.hub.scored));
  return line + formatted("  lag %.1f", ratio(static_cast<double>(intake.lag_sum), intake.groups));
}

void ProgressDisplay::step(const StepReport& report) { line(report.step, progress_text(report), report.times.step); }

void ProgressDisplay::line(std::int64_t step, const std::string& text, double step_s) {
  smoothed_step_s_ = smoothed_step_s_ == 0 ? step_s : 0.9 * smoothed_step_s_ + 0.1 * step_s;
  const std::string line = formatted("step %lld/%lld  ", static_cast<long long>(step), static_cast<long long>(last_step_)) + text +
                           "  " + human_duration(smoothed_step_s_ * static_cast<double>(last_step_ - step)) + " left";
  if (terminal_) {
    std::cout << "\r\x1b[K" << line << std::flush;
    line_shown_ = true;
  } else {
    std::cout << line << '\n' << std::flush;
  }
}

void ProgressDisplay::clear_line() {
  if (line_shown_) std::cout << '\n';
  line_shown_ = false;
}

void ProgressDisplay::note(const std::string& text) {
  clear_line();
  std::cout << text << '\n' << std::flush;
}

void ProgressDisplay::table(const std::optional<Evaluated>& before, const std::optional<Evaluated>& after, std::int64_t steps,
                            double wall_s) {
  clear_line();
  std::cout << formatted("\nfinished: %lld steps in %s\n", static_cast<long long>(steps), human_duration(wall_s).c_str());
  if (before && after) {
    std::cout << formatted("  %-22s %10s %10s\n", "held-out, greedy", "before", "after");
    std::cout << formatted("  %-22s %10.3f %10.3f\n", "accuracy", before->accuracy, after->accuracy);
    std::cout << formatted("  %-22s %10.3f %10.3f\n", "reward", before->mean_reward, after->mean_reward);
  }
  std::cout << std::flush;
}

}  // namespace troupe
