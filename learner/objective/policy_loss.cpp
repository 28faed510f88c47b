#include "learner/objective/policy_loss.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>

#include "common/base/error.h"

namespace troupe {

namespace {

enum class Policy { kClip, kGspo, kCispo, kReinforce };
enum class Kl { kNone, kK1, kK2, kK3 };

Policy policy_of(const std::string& name) {
  if (name == "clip") return Policy::kClip;
  if (name == "gspo") return Policy::kGspo;
  if (name == "cispo") return Policy::kCispo;
  if (name == "reinforce") return Policy::kReinforce;
  throw ConfigError("loss.policy: expected clip, gspo, cispo or reinforce, found \"" + name + "\"");
}

Kl kl_of(std::string_view name) {
  if (name == "none") return Kl::kNone;
  if (name == "k1") return Kl::kK1;
  if (name == "k2") return Kl::kK2;
  if (name == "k3") return Kl::kK3;
  throw ConfigError("loss.kl: expected none, k1, k2 or k3, found \"" + std::string(name) + "\"");
}

bool kl_is_in_reward(const std::string& name) {
  if (name == "reward") return true;
  if (name == "loss") return false;
  throw ConfigError("loss.kl_in: expected loss or reward, found \"" + name + "\"");
}

// A term of the objective and its derivative in logp.
struct Term {
  double value = 0;
  double slope = 0;
  bool bounded = false;
};

Term kl_term(Kl kind, double d) {
  switch (kind) {
    case Kl::kK1:
      return {d, 1};
    case Kl::kK2:
      return {d * d / 2, d};
    case Kl::kK3:
      return {std::exp(-d) + d - 1, 1 - std::exp(-d)};
    case Kl::kNone:
      break;
  }
  return {};
}

// The clipped surrogate; d ratio / d logp = ratio.
Term clip_term(const LossConfig& config, double ratio, double advantage, double dual_clip) {
  const double open = ratio * advantage;
  const double shut = std::clamp(ratio, 1 - config.clip_low, 1 + config.clip_high) * advantage;
  if (!(open <= shut)) return {shut, 0, true};
  const double floor = dual_clip * advantage;
  if (dual_clip > 0 && advantage < 0 && open < floor) return {floor, 0, true};
  return {open, open, false};
}

Term policy_term(const LossConfig& config, Policy policy, double logp, double log_ratio, double advantage) {
  const double ratio = std::exp(log_ratio);
  switch (policy) {
    case Policy::kClip:
      return clip_term(config, ratio, advantage, config.dual_clip);
    case Policy::kGspo:
      return clip_term(config, ratio, advantage, 0);
    case Policy::kCispo: {
      const double weight = std::clamp(ratio, 1 - config.clip_low, 1 + config.clip_high);
      return {weight * advantage * logp, weight * advantage, weight != ratio};
    }
    case Policy::kReinforce:
      break;
  }
  return {advantage * logp, advantage, false};
}

void check_sizes(const TokenBatch& batch, bool needs_reference) {
  const std::size_t tokens = batch.logp.size();
  check(!batch.offsets.empty() && batch.offsets.front() == 0 &&
            batch.offsets.back() == static_cast<std::int64_t>(tokens) &&
            std::is_sorted(batch.offsets.begin(), batch.offsets.end()),
        "policy_loss: offsets cover the tokens");
  check(batch.old_logp.size() == tokens && batch.sampler_logp.size() == tokens && batch.advantage.size() == tokens &&
            batch.weight.size() == tokens,
        "policy_loss: one number a token in every span");
  check(batch.ref_logp.size() == tokens || (batch.ref_logp.empty() && !needs_reference),
        "policy_loss: loss.kl needs the reference's log-probabilities");
}

class Evaluation {
 public:
  Evaluation(const LossConfig& config, const TokenBatch& batch)
      : config_(config),
        batch_(batch),
        policy_(policy_of(config.policy)),
        kl_(kl_of(config.kl)),
        kl_in_reward_(kl_is_in_reward(config.kl_in)),
        charges_(kl_in_reward_ && config.advantage != "gae") {
    check_sizes(batch, kl_ != Kl::kNone && config.kl_coef != 0);
    if (batch.ref_logp.empty()) kl_ = Kl::kNone;
    result_.grad_logp.assign(batch.logp.size(), 0.0F);
  }

  PolicyLoss run() {
    for (std::size_t i = 0; i + 1 < batch_.offsets.size(); ++i) {
      add_sequence(static_cast<std::size_t>(batch_.offsets[i]), static_cast<std::size_t>(batch_.offsets[i + 1]));
    }
    if (result_.metrics.non_finite > 0) result_.loss = std::numeric_limits<double>::quiet_NaN();
    return std::move(result_);
  }

 private:
  bool trains(std::size_t t) const { return batch_.weight[t] != 0; }
  static double difference(std::span<const float> a, std::span<const float> b, std::size_t t) {
    return static_cast<double>(a[t]) - static_cast<double>(b[t]);
  }
  double log_ratio(std::size_t t) const { return difference(batch_.logp, batch_.old_logp, t); }

  double mean_log_ratio(std::size_t begin, std::size_t end) const {
    double sum = 0;
    std::int64_t count = 0;
    for (std::size_t t = begin; t < end; ++t) {
      if (!trains(t)) continue;
      sum += log_ratio(t);
      ++count;
    }
    return count > 0 ? sum / static_cast<double>(count) : 0;
  }

  void add_sequence(std::size_t begin, std::size_t end) {
    const double sequence_log_ratio = policy_ == Policy::kGspo ? mean_log_ratio(begin, end) : 0;
    double charge = 0;  // kl_in = reward: the KL of this token and the later ones
    for (std::size_t t = end; t-- > begin;) {
      if (!trains(t)) continue;
      if (kl_ != Kl::kNone && charges_) {
        charge += config_.kl_coef * kl_term(kl_, difference(batch_.old_logp, batch_.ref_logp, t)).value;
      }
      add_token(t, policy_ == Policy::kGspo ? sequence_log_ratio : log_ratio(t), batch_.advantage[t] - charge);
    }
  }

  void add_token(std::size_t t, double ratio_log, double advantage) {
    PolicyMetrics& metrics = result_.metrics;
    const double logp = batch_.logp[t];
    const double mismatch = difference(batch_.old_logp, batch_.sampler_logp, t);
    const Term policy = policy_term(config_, policy_, logp, ratio_log, advantage);
    const Term kl = kl_ == Kl::kNone ? Term{} : kl_term(kl_, difference(batch_.logp, batch_.ref_logp, t));

    const double correction = std::exp(mismatch);
    const bool capped = config_.tis_cap > 0 && correction > config_.tis_cap;
    const double c = config_.tis_cap > 0 ? std::min(correction, config_.tis_cap) : 1;
    const double beta = kl_in_reward_ ? 0 : config_.kl_coef;
    const double value = batch_.weight[t] * (beta * kl.value - c * policy.value);
    const double slope = batch_.weight[t] * (beta * kl.slope - c * policy.slope);

    const auto grad = static_cast<float>(slope);

    ++metrics.tokens;
    // The ratio itself too: a bound hides an infinite one.
    if (!std::isfinite(value) || !std::isfinite(grad) || !std::isfinite(log_ratio(t)) || !std::isfinite(mismatch) ||
        !std::isfinite(kl.value)) {
      ++metrics.non_finite;
      result_.grad_logp[t] = std::numeric_limits<float>::quiet_NaN();
      return;
    }
    result_.loss += value;
    result_.grad_logp[t] = grad;
    metrics.kl_sum += kl.value;
    metrics.clipped += policy.bounded ? 1 : 0;
    metrics.max_log_ratio = std::max(metrics.max_log_ratio, std::abs(log_ratio(t)));
    metrics.mismatch_sum += std::abs(mismatch);
    metrics.mismatch_max = std::max(metrics.mismatch_max, std::abs(mismatch));
    metrics.tis_capped += capped ? 1 : 0;
  }

  const LossConfig& config_;
  const TokenBatch& batch_;
  const Policy policy_;
  Kl kl_;
  const bool kl_in_reward_;
  const bool charges_;  // the KL to the advantages
  PolicyLoss result_;
};

}  // namespace

PolicyMetrics& PolicyMetrics::operator+=(const PolicyMetrics& other) {
  tokens += other.tokens;
  kl_sum += other.kl_sum;
  clipped += other.clipped;
  max_log_ratio = std::max(max_log_ratio, other.max_log_ratio);
  mismatch_sum += other.mismatch_sum;
  mismatch_max = std::max(mismatch_max, other.mismatch_max);
  tis_capped += other.tis_capped;
  non_finite += other.non_finite;
  return *this;
}

double kl_estimate(std::string_view estimator, double d) { return kl_term(kl_of(estimator), d).value; }

PolicyLoss policy_loss(const LossConfig& config, const TokenBatch& batch) { return Evaluation(config, batch).run(); }

}  // namespace troupe
