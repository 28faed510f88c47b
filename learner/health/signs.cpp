#include "learner/health/signs.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "common/base/metric_names.h"

namespace troupe {
namespace {

constexpr double kNearlyAll = 0.95;
constexpr std::int64_t kFewestAnswers = 512;  // a right answer in a hundred would show with a probability of 99 %

using Reading = std::optional<Sign>;

std::string rounded(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.3g", value);
  return text;
}

std::string percent(double share) { return rounded(100 * share) + " %"; }

/// The sign where `shown`, else the reading that the step is free of it.
Reading sign(bool shown, const std::string& what, const std::string& cause) { return shown ? Sign{what, cause} : Sign{}; }

/// Whether the metric `accuracy` is about answers: it is that of the reward of this name, or else of the first one, which may
/// look at the completion's shape alone.
bool grades_answers(const Config& config) {
  static constexpr std::string_view kShapes[] = {"format", "tags", "length", "overlong", "repetition", "language"};
  const auto named = std::find_if(config.rewards.begin(), config.rewards.end(), [](const auto& r) { return r.name == "accuracy"; });
  if (named != config.rewards.end()) return true;
  return !config.rewards.empty() &&
         std::find(std::begin(kShapes), std::end(kShapes), config.rewards.front().kind) == std::end(kShapes);
}

Reading cut_off(const HealthView& view) {
  const auto share = view.value(metric::kCutOffShare);
  if (!share) return std::nullopt;
  const std::string limit = std::to_string(view.config.sampling.max_tokens);
  return sign(*share >= kNearlyAll, percent(*share) + " of the completions are cut off at sampling.max_tokens = " + limit,
              "sampling.max_tokens is too small for an answer, or the model never ends one (its stop token)");
}

Reading rewards_equal(const HealthView& view) {
  const auto lowest = view.value(metric::kRewardMin);
  const auto highest = view.value(metric::kRewardMax);
  if (!lowest || !highest) return std::nullopt;
  const auto accuracy = grades_answers(view.config) ? view.value(metric::kAccuracy) : std::nullopt;
  std::string cause = "the rewards do not tell completions apart: look at the [reward.NAME] sections and sampling.temperature";
  if (accuracy == 0.0) {
    cause =
        "no answer is right: do the rows have their gold under gold or answer, is data.question_key the question, do the "
        "rewards look where the answer stands (`from`), and can this model do the task at all?";
  } else if (accuracy == 1.0) {
    cause = "every prompt is solved: take harder ones, or end the run here";
  }
  const bool penalised_alike = view.value(metric::kZeroVarianceShare).value_or(1) == 1;  // the overlong penalty is not in them
  return sign(lowest == highest && penalised_alike, "every reward is " + rounded(*lowest), cause);
}

Reading never_right(const HealthView& view) {
  const auto accuracy = view.value(metric::kAccuracy);
  if (!accuracy || !grades_answers(view.config)) return std::nullopt;
  return sign(*accuracy == 0, "no answer is right",
              "the rows' gold (gold or answer), data.question_key or the reward's `from` is wrong, or the task is too hard for "
              "this model");
}

Reading never_in_form(const HealthView& view) {
  const auto format = view.value(metric::kFormat);
  if (!format) return std::nullopt;
  return sign(*format == 0, "the format reward never fires",
              "the prompt does not ask for the form (data.prompt), the model has not been taught it (a cold start), or "
              "completions end before they could have it");
}

Reading zero_variance(const HealthView& view) {
  const auto share = view.value(metric::kZeroVarianceShare);
  const std::string& advantage = view.config.loss.advantage;
  if (!share || advantage == "reinforce_pp" || advantage == "gae") return std::nullopt;  // their baseline is not the group's
  return sign(*share >= view.config.health.max_zero_variance,
              percent(*share) + " of the groups have equal rewards and teach nothing",
              "the prompts are too easy or too hard for this model, or its completions are all alike (entropy near 0): choose "
              "other prompts, raise group.size or sampling.temperature, or set batch.dynamic_sampling");
}

Reading kl(const HealthView& view) {
  const auto nats = view.value(metric::kKl);
  if (!nats) return std::nullopt;
  return sign(std::abs(*nats) > view.config.health.max_kl,
              "the KL divergence to the reference has run away: " + rounded(*nats) + " nats per token",
              "optimizer.lr is too high, or loss.kl_coef too small to hold the policy");
}

Reading entropy(const HealthView& view) {
  const auto nats = view.value(metric::kEntropy);
  if (!nats || !view.first_entropy) return std::nullopt;
  const double first = *view.first_entropy;
  return sign(*nats > 2 * first && *nats > first + view.config.health.max_entropy_rise,
              "the entropy has run away: " + rounded(*nats) + " nats per token, at first " + rounded(first),
              "the policy is falling apart: optimizer.lr is too high, or the gradient is noise (clip_norm, batch.prompts)");
}

Reading entropy_collapse(const HealthView& view) {
  const auto nats = view.value(metric::kEntropy);
  if (!nats) return std::nullopt;
  const auto accuracy = grades_answers(view.config) ? view.value(metric::kAccuracy) : std::nullopt;
  return sign(*nats < view.config.health.min_entropy && accuracy.value_or(0) < kNearlyAll,  // what is learnt may be certain
              "the entropy has collapsed: " + rounded(*nats) + " nats per token",
              "the policy is certain of what it writes and tries nothing else: optimizer.lr is too high, loss.kl_coef or "
              "sampling.temperature too low, or the cold start went on for too long");
}

Reading ratio(const HealthView& view) {
  const auto log_ratio = view.value(metric::kRatioMaxAbsLog);
  const auto lag = view.value(metric::kLagMax);
  if (!log_ratio || lag != 0.0) return std::nullopt;  // with a lag the ratio is not 1 rightly
  return sign(*log_ratio > view.config.health.max_log_ratio,
              "at lag 0 trainer and sampler disagree by a log ratio of up to " + rounded(*log_ratio),
              "the sampler draws from another distribution than the one that is trained: truncated sampling (sampling.top_p, "
              "top_k, min_p), or other kernels or weights at an actor; run.exact = true finds the first such token");
}

Reading weights_unchanged(const HealthView& view) {
  const auto changed = view.value(metric::kWeightsChanged);
  if (!changed) return std::nullopt;
  const auto grad_norm = view.value(metric::kGradNorm);
  std::string cause = "the updates are too small for model.dtype = " + view.config.model.dtype + ": raise optimizer.lr";
  if (view.value(metric::kLr) == 0.0) {
    cause = "the learning rate is 0";
  } else if (grad_norm == 0.0) {
    cause = "the gradient is 0, because no group's rewards differ";
  } else if (!grad_norm) {
    cause = "the gradient is not finite, so that every update is skipped";
  }
  return sign(*changed == 0, "the weights do not change", cause);
}

constexpr HealthCheck kChecks[] = {
    {"cut_off", cut_off, true},
    {"rewards_equal", rewards_equal, true},
    {"never_right", never_right, false, kFewestAnswers, "rewards_equal"},
    {"never_in_form", never_in_form, true},
    {"zero_variance", zero_variance, false, 0, "rewards_equal"},
    {"kl", kl},
    {"entropy", entropy},
    {"entropy_collapse", entropy_collapse},
    {"ratio", ratio},
    {"weights_unchanged", weights_unchanged},
};

constexpr RefusalCheck kRefusals[] = {
    {"filtered", "groups in a row are thrown away by dynamic sampling without filling a batch",
     "their rewards are all equal: no answer is right, or every one is (troupe inspect RUN --group N shows them)"},
    {"failed", "groups in a row got no reward without filling a batch",
     "a verifier fails on them: the rewarders' logs say why"}};

}  // namespace

std::optional<double> HealthView::value(std::string_view metric) const {
  const auto found = metrics.find(std::string(metric));
  return found == metrics.end() || !std::isfinite(found->second) ? std::nullopt : std::optional(found->second);
}

std::span<const HealthCheck> health_checks() { return kChecks; }
std::span<const RefusalCheck> refusal_checks() { return kRefusals; }

}  // namespace troupe
