#include "learner/objective/policy_loss.h"

#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <string>

#include "common/base/error.h"
#include "tests/learner/objective/loss_batch.h"

namespace troupe::test {
namespace {

using doctest::Approx;

const float kLogHalf = std::log(0.5F);
const float kLogTwo = std::log(2.0F);

// One token with ratio r: old_logp = -3, logp = -3 + log r.
LossBatch one_token(double ratio, double advantage) {
  LossBatch batch{{static_cast<float>(-3 + std::log(ratio))}, {advantage}};
  batch.old_logp = {-3};
  return batch;
}

struct Expected {
  double ratio;
  double advantage;
  double loss;
  double slope;
  std::int64_t bounded;
};

void check_table(const LossConfig& config, const std::vector<Expected>& table) {
  for (const Expected& row : table) {
    CAPTURE(row.ratio);
    CAPTURE(row.advantage);
    const PolicyLoss found = one_token(row.ratio, row.advantage).loss(config);
    CHECK(found.loss == Approx(row.loss).epsilon(1e-6));  // log r is rounded to float
    CHECK(found.grad_logp[0] == Approx(row.slope).epsilon(1e-6));
    CHECK(found.metrics.clipped == row.bounded);
  }
}

// Every gradient against central differences, on inputs that are multiples of 2^-8, so that +-h is exact in float.
// With Richardson's step the error is of order h^4 times the fifth derivative: 1e-7 is far above it, and above float's
// rounding of the gradient (6e-8 relative).
void check_gradient(const LossConfig& config, const LossBatch& batch) {
  LossBatch base = batch;
  const PolicyLoss found = base.loss(config);
  const auto loss_at = [&](std::size_t t, float by) {
    LossBatch moved = base;
    moved.logp[t] += by;
    return moved.loss(config).loss;
  };
  const auto slope = [&](std::size_t t, float h) {
    return (loss_at(t, h) - loss_at(t, -h)) / (2 * static_cast<double>(h));
  };

  for (std::size_t t = 0; t < base.logp.size(); ++t) {
    CAPTURE(t);
    const double coarse = slope(t, 0x1p-7F);
    const double fine = slope(t, 0x1p-8F);
    CHECK(near(found.grad_logp[t], (4 * fine - coarse) / 3, 1e-7, 2e-8));
  }
}

// Two sequences of 3 and 2 tokens. No ratio is nearer to a bound of 0.8, 1.2 or 3 than the differences reach.
LossBatch two_sequences() {
  LossBatch batch;
  batch.logp = {-1.0F, -0.5F, -2.25F, -0.25F, -1.5F};
  batch.old_logp = {-1.125F, -0.75F, -2.0F, -0.375F, -3.0F};
  batch.sampler_logp = {-1.0F, -0.875F, -2.5F, -0.25F, -3.0F};
  batch.ref_logp = {-1.5F, -0.25F, -2.0F, -0.25F, -1.0F};
  batch.advantage = {0.75, 0.75, 0.75, -1.25, -1.25};
  batch.weight = {0.125, 0.125, 0.125, 0.1875, 0.1875};
  batch.offsets = {0, 3, 5};
  return batch;
}

}  // namespace

TEST_SUITE("objective/policy_loss") {
  TEST_CASE("the bound of clip acts only where it lowers the objective") {
    LossConfig config = bare();
    config.clip_low = 0.2;
    config.clip_high = 0.28;
    check_table(config, {
                            {0.5, 1, -0.5, -0.5, 0},   // below the band, but the smaller of 0.5 and 0.8
                            {0.5, -1, 0.8, 0, 1},      // min(-0.5, -0.8)
                            {1.0, 2, -2, -2, 0},       // on policy
                            {1.25, 2, -2.5, -2.5, 0},  // within clip-higher's 1.28
                            {1.5, 2, -2.56, 0, 1},     // min(3, 2.56)
                            {1.5, -2, 3, 3, 0},        // min(-3, -2.56)
                            {1.5, 0, 0, 0, 0},
                        });
  }

  TEST_CASE("dual clip bounds the objective of a negative advantage from below") {
    LossConfig config = bare();
    config.dual_clip = 3;
    check_table(config, {
                            {10, -4, 12, 0, 1},   // max(-40, -12)
                            {2, -4, 8, 8, 0},     // max(-8, -12)
                            {10, 4, -4.8, 0, 1},  // positive: the common bound of 1.2
                        });
  }

  TEST_CASE("cispo keeps every token's gradient and bounds its weight") {
    LossConfig config = bare("cispo");
    config.clip_low = 1;
    config.clip_high = 0.5;
    const double log2 = std::log(2.0);
    check_table(config, {
                            {2, 1, -1.5 * (-3 + log2), -1.5, 1},    // weight 1.5
                            {0.5, 1, -0.5 * (-3 - log2), -0.5, 0},  // open below
                            {2, -2, 3 * (-3 + log2), 3, 1},
                        });
  }

  TEST_CASE("reinforce weighs the log-probability by the advantage, whatever the ratio") {
    check_table(bare("reinforce"), {{1, 2, 6, -2, 0}, {0.5, -1, -3 - std::log(2.0), 1, 0}});
  }

  TEST_CASE("gspo takes the sequence's geometric mean ratio for each of its tokens") {
    // Ratios 2, 1/2, 1 | 2: sequence ratios 1 and 2. Advantage 3: min(3, 3.6) | min(6, 3.6).
    LossBatch batch;
    batch.old_logp = {-1, -2, -3, -4};
    batch.logp = {-1 + kLogTwo, -2 + kLogHalf, -3, -4 + kLogTwo};
    batch.advantage = {3, 3, 3, 3};
    batch.weight = {0.25, 0.25, 0.25, 0.75};
    batch.offsets = {0, 3, 4};

    const PolicyLoss found = batch.loss(bare("gspo"));

    CHECK(found.loss == Approx(-0.75 * 3 - 0.75 * 3.6).epsilon(1e-6));
    for (std::size_t t = 0; t < 3; ++t) CHECK(found.grad_logp[t] == Approx(-0.75).epsilon(1e-6));
    CHECK(found.grad_logp[3] == 0);
    CHECK(found.metrics.clipped == 1);
  }

  TEST_CASE("each KL estimator adds its value and its derivative") {
    // d = logp - ref = log 2: k1 = log 2, k2 = log2^2 / 2, k3 = 1/2 + log 2 - 1; derivatives 1, log 2, 1/2. Times 0.1.
    const double log2 = std::log(2.0);
    const auto check_kl = [](const std::string& kind, double value, double slope) {
      CAPTURE(kind);
      LossConfig config = bare();
      config.kl = kind;
      config.kl_coef = 0.1;
      LossBatch batch{{-1}, {0}};
      batch.ref_logp = {-1 - kLogTwo};
      const PolicyLoss found = batch.loss(config);
      CHECK(found.loss == Approx(0.1 * value).epsilon(1e-6));
      CHECK(found.grad_logp[0] == Approx(0.1 * slope).epsilon(1e-6));
      CHECK(found.metrics.kl_sum == Approx(value).epsilon(1e-6));
    };
    check_kl("k1", log2, 1);
    check_kl("k2", log2 * log2 / 2, log2);
    check_kl("k3", log2 - 0.5, 0.5);
  }

  TEST_CASE("KL in the reward charges a token for itself and the rest of its sequence, without gradient of its own") {
    // k1 of old_logp - ref_logp = 1, 2, 4 | 8, times 0.5. Reinforce: slope -(A - charge) with A = 10 and charges 3.5,
    // 3, 2 | 4.
    LossConfig config = bare("reinforce");
    config.kl = "k1";
    config.kl_in = "reward";
    config.kl_coef = 0.5;
    LossBatch batch;
    batch.logp = {-5, -5, -5, -5};
    batch.old_logp = {-1, -1, -1, -1};
    batch.ref_logp = {-2, -3, -5, -9};
    batch.advantage = {10, 10, 10, 10};
    batch.offsets = {0, 3, 4};

    const PolicyLoss found = batch.loss(config);

    CHECK(found.grad_logp == std::vector<float>{-6.5F, -7, -8, -6});
    CHECK(found.loss == Approx(5 * (6.5 + 7 + 8 + 6)));
    CHECK(found.metrics.kl_sum == Approx(-3 - 2 + 0 + 4));  // of the present weights
    config.advantage = "gae";  // a critic's advantages have it already
    CHECK(batch.loss(config).grad_logp == std::vector<float>{-10, -10, -10, -10});
    CHECK(batch.loss(config).metrics.kl_sum == found.metrics.kl_sum);
  }

  TEST_CASE("truncated importance sampling weighs the policy term up to its cap, and not the KL") {
    // old / sampler = 2 and 1/2; cap 1.5. On policy, A = 1: -1.5, -0.5; KL of d = 1 by k1: +1 each.
    LossConfig config = bare();
    config.tis_cap = 1.5;
    config.kl = "k1";
    config.kl_coef = 1;
    LossBatch batch;
    batch.logp = batch.old_logp = {-1, -1};
    batch.sampler_logp = {-1 - kLogTwo, -1 + kLogTwo};
    batch.ref_logp = {-2, -2};
    batch.advantage = {1, 1};

    const PolicyLoss found = batch.loss(config);

    CHECK(found.loss == Approx(-1.5 - 0.5 + 2).epsilon(1e-6));
    CHECK(found.grad_logp[0] == Approx(-0.5).epsilon(1e-6));
    CHECK(found.grad_logp[1] == Approx(0.5).epsilon(1e-6));
    CHECK(found.metrics.tis_capped == 1);
    config.tis_cap = 0;
    CHECK(batch.loss(config).loss == Approx(0).epsilon(1e-12));
  }

  TEST_CASE("on policy every ratio is exactly 1 and the loss is exactly minus the weighted advantage") {
    LossBatch batch = two_sequences();
    batch.old_logp = batch.sampler_logp = batch.logp;

    const PolicyLoss found = batch.loss(bare());

    CHECK(found.loss == -(3 * 0.125 * 0.75 - 2 * 0.1875 * 1.25));
    CHECK(found.metrics.max_log_ratio == 0);
    CHECK(found.metrics.mismatch_max == 0);
  }

  TEST_CASE("gradients agree with finite differences") {
    for (const std::string kl : {"none", "k1", "k2", "k3"}) {
      for (const double tis_cap : {0.0, 1.25}) {
        CAPTURE(kl);
        CAPTURE(tis_cap);
        LossConfig config = bare("clip");
        config.kl = kl;
        config.kl_coef = 0.25;
        config.tis_cap = tis_cap;
        config.dual_clip = 3;
        check_gradient(config, two_sequences());
        config.policy = "gspo";
        if (tis_cap == 0) check_gradient(config, two_sequences());  // else c differs by token: see policy_loss.h
        config.policy = "reinforce";
        check_gradient(config, two_sequences());
        config.kl_in = "reward";
        check_gradient(config, two_sequences());
      }
    }
    // cispo's weight is detached: differences see the true gradient only where a bound holds it still.
    LossConfig cispo = bare("cispo");
    cispo.clip_low = 0.01;
    cispo.clip_high = 0.01;
    check_gradient(cispo, two_sequences());
  }

  TEST_CASE("cutting an update between sequences changes no gradient's bit, and the loss only by rounding") {
    LossConfig config = bare();
    config.kl = "k3";
    config.kl_coef = 0.1;
    config.tis_cap = 2;
    for (const std::string policy : {"clip", "gspo", "cispo", "reinforce"}) {
      for (const std::string kl_in : {"loss", "reward"}) {
        CAPTURE(policy);
        CAPTURE(kl_in);
        config.policy = policy;
        config.kl_in = kl_in;
        LossBatch whole = two_sequences();
        const PolicyLoss expected = whole.loss(config);

        double loss = 0;
        std::vector<float> grad;
        PolicyMetrics metrics;
        for (const auto& [begin, end] : {std::pair{0, 3}, std::pair{3, 5}}) {
          const auto cut = [begin = begin, end = end](const auto& v) {
            return std::decay_t<decltype(v)>(v.begin() + begin, v.begin() + end);
          };
          LossBatch part{cut(whole.logp),         cut(whole.advantage), cut(whole.old_logp),
                         cut(whole.sampler_logp), cut(whole.ref_logp),  cut(whole.weight)};
          const PolicyLoss found = part.loss(config);
          loss += found.loss;
          grad.insert(grad.end(), found.grad_logp.begin(), found.grad_logp.end());
          metrics += found.metrics;
        }

        CHECK(grad == expected.grad_logp);
        CHECK(near(loss, expected.loss, 0, 4 * std::numeric_limits<double>::epsilon()));  // five terms below 1
        CHECK(metrics.tokens == expected.metrics.tokens);
        CHECK(metrics.clipped == expected.metrics.clipped);
        CHECK(metrics.tis_capped == expected.metrics.tis_capped);
        CHECK(metrics.max_log_ratio == expected.metrics.max_log_ratio);
        CHECK(metrics.mismatch_max == expected.metrics.mismatch_max);
        CHECK(metrics.mismatch_sum == expected.metrics.mismatch_sum);  // multiples of 2^-3: exact
        CHECK(metrics.kl_sum == Approx(expected.metrics.kl_sum));
      }
    }
  }

  TEST_CASE("metrics count the tokens that train") {
    LossBatch batch = two_sequences();
    batch.weight[4] = 0;

    const PolicyMetrics found = batch.loss(bare()).metrics;

    CHECK(found.tokens == 4);
    CHECK(found.max_log_ratio == 0.25);
    CHECK(found.mismatch_sum == 0.125 + 0.125 + 0.5 + 0.125);
    CHECK(found.mismatch_max == 0.5);
    CHECK(found.clipped == 1);  // exp(0.25) > 1.2 with A > 0
    CHECK(found.non_finite == 0);
    CHECK(found.tis_capped == 0);

    LossBatch below{{-3}, {1}, {-1}, {-0.5F}};
    const PolicyMetrics low = below.loss(bare()).metrics;
    CHECK(low.max_log_ratio == 2);
    CHECK(low.mismatch_max == 0.5);
    CHECK(low.mismatch_sum == 0.5);
  }

  TEST_CASE("metrics add up, but for the maxima") {
    PolicyMetrics sum{1, 2, 3, 4, 5, 6, 7, 8};
    sum += PolicyMetrics{10, 20, 30, 3, 50, 7, 70, 80};

    CHECK(sum == PolicyMetrics{11, 22, 33, 4, 55, 7, 77, 88});
  }

  TEST_CASE("numbers of a token without weight poison nothing, in the sequence's mean and charge neither") {
    const float nan = std::numeric_limits<float>::quiet_NaN();
    for (const std::string policy : {"clip", "gspo", "cispo", "reinforce"}) {
      for (const std::string kl_in : {"loss", "reward"}) {
        CAPTURE(policy);
        CAPTURE(kl_in);
        LossConfig config = bare(policy);
        config.kl = "k3";
        config.kl_in = kl_in;
        config.kl_coef = 0.25;
        LossBatch batch = two_sequences();
        LossBatch without = two_sequences();
        batch.weight[4] = 0;
        batch.logp[4] = batch.old_logp[4] = batch.sampler_logp[4] = batch.ref_logp[4] = nan;
        batch.advantage[4] = nan;
        const auto shorten = [](auto& v) { v.pop_back(); };
        shorten(without.logp), shorten(without.old_logp), shorten(without.sampler_logp), shorten(without.ref_logp);
        shorten(without.advantage), shorten(without.weight);
        without.offsets = {0, 3, 4};

        const PolicyLoss found = batch.loss(config);
        const PolicyLoss expected = without.loss(config);

        CHECK(found.loss == expected.loss);
        CHECK(std::vector<float>(found.grad_logp.begin(), found.grad_logp.end() - 1) == expected.grad_logp);
        CHECK(found.grad_logp.back() == 0);
        CHECK(found.metrics == expected.metrics);
      }
    }
  }

  TEST_CASE("a number that is not finite in a token that trains makes loss and gradient NaN and is counted") {
    const float inf = std::numeric_limits<float>::infinity();
    for (int field = 0; field < 7; ++field) {
      CAPTURE(field);
      LossConfig config = bare();
      if (field < 5) config.kl = "k3";
      LossBatch batch = two_sequences();
      if (field == 0) batch.logp[1] = -inf;
      if (field == 1) batch.old_logp[1] = -inf;  // an infinite ratio, which the bound would hide
      if (field == 2) batch.sampler_logp[1] = -inf;
      if (field == 3) batch.ref_logp[1] = inf;
      if (field == 4) batch.advantage[1] = inf;
      if (field == 5) batch.logp[1] = inf;          // likewise
      if (field == 6) batch.advantage[1] = -1e300;  // beyond the gradient's float

      const PolicyLoss found = batch.loss(config);

      CHECK(std::isnan(found.loss));
      CHECK(found.metrics.non_finite == 1);
      CHECK(std::isnan(found.grad_logp[1]));
    }
  }

  TEST_CASE("spans that do not fit, a missing reference and unknown options are refused") {
    LossConfig config = bare();
    for (const auto field : {&LossBatch::old_logp, &LossBatch::sampler_logp, &LossBatch::ref_logp}) {
      LossBatch short_of_one{{-1, -2}, {1, 1}};
      short_of_one.*field = {-1};
      CHECK_THROWS_AS(short_of_one.loss(config), InternalError);
    }
    for (const auto field : {&LossBatch::advantage, &LossBatch::weight}) {
      LossBatch short_of_one{{-1, -2}, {1, 1}};
      short_of_one.*field = {1};
      CHECK_THROWS_AS(short_of_one.loss(config), InternalError);
    }
    LossBatch short_offsets{{-1, -2}, {1, 1}};
    short_offsets.offsets = {0, 1};
    CHECK_THROWS_AS(short_offsets.loss(config), InternalError);

    LossBatch fine{{-1, -2}, {1, 1}};
    config.kl = "k3";
    CHECK_THROWS_WITH_AS(fine.loss(config), doctest::Contains("reference"), InternalError);
    config.kl_coef = 0;  // nothing asks for it then
    CHECK(fine.loss(config).loss == -2);
    for (const auto& [key, value] :
         {std::pair{&LossConfig::policy, "ppo"}, {&LossConfig::kl, "k4"}, {&LossConfig::kl_in, "both"}}) {
      LossConfig wrong = bare();
      wrong.*key = value;
      CHECK_THROWS_WITH_AS(fine.loss(wrong), doctest::Contains(value), ConfigError);
    }
  }
}

}  // namespace troupe::test
