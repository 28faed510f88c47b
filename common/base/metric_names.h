#pragma once

#include <array>
#include <string_view>

namespace troupe {

/// The names of all metrics: in metrics.jsonl, in the TensorBoard events, in the report and on the terminal.
namespace metric {

inline constexpr std::string_view kReward = "reward";
inline constexpr std::string_view kRewardMin = "reward_min";
inline constexpr std::string_view kRewardMax = "reward_max";
inline constexpr std::string_view kAccuracy = "accuracy";
inline constexpr std::string_view kFormat = "format";
inline constexpr std::string_view kHeldOutAccuracy = "held_out_accuracy";
inline constexpr std::string_view kHeldOutReward = "held_out_reward";
inline constexpr std::string_view kHeldOutLoss = "held_out_loss";
inline constexpr std::string_view kMargin = "margin";
inline constexpr std::string_view kHeldOutMargin = "held_out_margin";
inline constexpr std::string_view kRewardChosen = "reward_chosen";
inline constexpr std::string_view kHeldOutRewardChosen = "held_out_reward_chosen";
inline constexpr std::string_view kRewardRejected = "reward_rejected";
inline constexpr std::string_view kHeldOutRewardRejected = "held_out_reward_rejected";
inline constexpr std::string_view kTokens = "tokens";
inline constexpr std::string_view kZeroVarianceShare = "zero_variance_share";
inline constexpr std::string_view kLengthMean = "length_mean";
inline constexpr std::string_view kLengthMax = "length_max";
inline constexpr std::string_view kCutOffShare = "cut_off_share";
inline constexpr std::string_view kLoss = "loss";
inline constexpr std::string_view kKl = "kl";
inline constexpr std::string_view kEntropy = "entropy";
inline constexpr std::string_view kGradNorm = "grad_norm";
inline constexpr std::string_view kUpdatesSkipped = "updates_skipped";
inline constexpr std::string_view kLr = "lr";
inline constexpr std::string_view kRatioMeanAbsLog = "ratio_mean_abs_log";
inline constexpr std::string_view kRatioMaxAbsLog = "ratio_max_abs_log";
inline constexpr std::string_view kRatioEffectiveShare = "ratio_effective_share";
inline constexpr std::string_view kWeightsChanged = "weights_changed";
inline constexpr std::string_view kNotLearning = "not_learning";
inline constexpr std::string_view kClipShare = "clip_share";
inline constexpr std::string_view kValueLoss = "value_loss";
inline constexpr std::string_view kValueClipShare = "value_clip_share";
inline constexpr std::string_view kExplainedVariance = "explained_variance";
inline constexpr std::string_view kLagMean = "lag_mean";
inline constexpr std::string_view kLagMax = "lag_max";
inline constexpr std::string_view kTokensGenerated = "tokens_generated";
inline constexpr std::string_view kTokensTrained = "tokens_trained";
inline constexpr std::string_view kTokensPerS = "tokens_per_s";
inline constexpr std::string_view kStepS = "step_s";
inline constexpr std::string_view kWaitS = "wait_s";
inline constexpr std::string_view kTrainS = "train_s";
inline constexpr std::string_view kCollectiveWaitS = "collective_wait_s";
inline constexpr std::string_view kPublishS = "publish_s";
inline constexpr std::string_view kWeightsStallS = "weights_stall_s";
inline constexpr std::string_view kQueueLeased = "queue_leased";
inline constexpr std::string_view kQueueScoring = "queue_scoring";
inline constexpr std::string_view kQueueScored = "queue_scored";

}  // namespace metric

/// Unit and meaning of a metric, as the report and the documentation show them.
struct MetricInfo {
  std::string_view name;
  std::string_view unit;  // "" for a plain number
  std::string_view meaning;
};

inline constexpr std::array kMetricInfos = {
    MetricInfo{metric::kReward, "", "mean reward of the step's completions"},
    MetricInfo{metric::kRewardMin, "", "lowest reward of the step's completions"},
    MetricInfo{metric::kRewardMax, "", "highest reward of the step's completions"},
    MetricInfo{metric::kAccuracy, "share",
               "completions of the step whose answer is right; of DPO, pairs whose chosen answer has the higher reward"},
    MetricInfo{metric::kFormat, "share", "completions of the step in the demanded form"},
    MetricInfo{metric::kHeldOutAccuracy, "share", "held-out prompts answered right, greedily; of DPO, held-out pairs"},
    MetricInfo{metric::kHeldOutReward, "", "mean reward on held-out prompts, greedily"},
    MetricInfo{metric::kHeldOutLoss, "nats", "loss of a supervised stage on held-out rows"},
    MetricInfo{metric::kMargin, "", "DPO's reward of the chosen answer above the rejected one's"},
    MetricInfo{metric::kHeldOutMargin, "", "the same on held-out pairs"},
    MetricInfo{metric::kRewardChosen, "", "DPO's implicit reward of the chosen answer"},
    MetricInfo{metric::kHeldOutRewardChosen, "", "the same on held-out pairs"},
    MetricInfo{metric::kRewardRejected, "", "DPO's implicit reward of the rejected answer"},
    MetricInfo{metric::kHeldOutRewardRejected, "", "the same on held-out pairs"},
    MetricInfo{metric::kTokens, "tokens", "tokens of the step, prompts included"},
    MetricInfo{metric::kZeroVarianceShare, "share", "groups whose rewards are all equal, which teach nothing"},
    MetricInfo{metric::kLengthMean, "tokens", "mean length of a completion"},
    MetricInfo{metric::kLengthMax, "tokens", "longest completion"},
    MetricInfo{metric::kCutOffShare, "share", "completions that reached sampling.max_tokens"},
    MetricInfo{metric::kLoss, "", "the objective, KL term included"},
    MetricInfo{metric::kKl, "nats", "KL divergence per token to the reference model"},
    MetricInfo{metric::kEntropy, "nats", "mean entropy per token of the policy"},
    MetricInfo{metric::kGradNorm, "", "norm of the gradient before clipping"},
    MetricInfo{metric::kUpdatesSkipped, "", "optimizer updates left out because a gradient was not finite"},
    MetricInfo{metric::kLr, "", "learning rate of the step"},
    MetricInfo{metric::kRatioMeanAbsLog, "nats", "mean |log ratio| of trainer against sampler on the first update"},
    MetricInfo{metric::kRatioMaxAbsLog, "nats", "largest |log ratio| of trainer against sampler on the first update"},
    MetricInfo{metric::kRatioEffectiveShare, "share", "effective sample size of that update's tokens under these ratios, of their number"},
    MetricInfo{metric::kWeightsChanged, "share", "parts of the published weights that differ from the version before"},
    MetricInfo{metric::kNotLearning, "", "checks that say the run is not learning"},
    MetricInfo{metric::kClipShare, "share", "tokens whose ratio was clipped"},
    MetricInfo{metric::kValueLoss, "", "the critic's loss"},
    MetricInfo{metric::kValueClipShare, "share", "tokens whose value was clipped"},
    MetricInfo{metric::kExplainedVariance, "", "of the returns, by the critic before the step: 1 at best"},
    MetricInfo{metric::kLagMean, "versions", "mean age of the trained groups"},
    MetricInfo{metric::kLagMax, "versions", "age of the oldest trained group"},
    MetricInfo{metric::kTokensGenerated, "tokens", "tokens generated so far"},
    MetricInfo{metric::kTokensTrained, "tokens", "tokens trained so far"},
    MetricInfo{metric::kTokensPerS, "tokens/s", "tokens of the step over its duration"},
    MetricInfo{metric::kStepS, "s", "duration of the step"},
    MetricInfo{metric::kWaitS, "s", "of it waiting for groups"},
    MetricInfo{metric::kTrainS, "s", "of it forward, backward and optimizer"},
    MetricInfo{metric::kCollectiveWaitS, "s", "of a step, what learner rank 0 waits for collectives beside computing"},
    MetricInfo{metric::kPublishS, "s", "of it publishing weights"},
    MetricInfo{metric::kWeightsStallS, "s", "longest time that an actor's generation stood still for the weights in use"},
    MetricInfo{metric::kQueueLeased, "groups", "groups that actors are generating"},
    MetricInfo{metric::kQueueScoring, "groups", "groups that rewarders are scoring"},
    MetricInfo{metric::kQueueScored, "groups", "groups that wait for the learner"},
};

/// The entry of `name`; unit and meaning are empty where it is not in the dictionary (a reward component, for example).
constexpr MetricInfo metric_info(std::string_view name) {
  for (const MetricInfo& info : kMetricInfos) {
    if (info.name == name) return info;
  }
  return {name, "", ""};
}

}  // namespace troupe
