#include "learner/health/health.h"

#include <doctest/doctest.h>

#include <limits>

#include "common/base/metric_names.h"

namespace troupe {
namespace {

using Kind = Health::News::Kind;
using Lines = std::vector<std::string>;

/// 16 x 16 completions a step, with an accuracy and a format reward.
Config config_of_test() {
  Config config;
  config.optimizer.lr = 1e-4;
  config.batch.prompts = 16;
  config.group.size = 16;
  config.rewards = {{"accuracy", "math"}, {"format", "format", 0.2}};
  return config;
}

/// A step of a run that learns, with some of its metrics replaced.
MetricValues step_with(const MetricValues& changes = {}) {
  MetricValues values = {{"reward", 0.5},        {"reward_min", 0},     {"reward_max", 1.2},      {"accuracy", 0.4},
                         {"format", 0.9},        {"kl", 0.02},          {"entropy", 0.3},         {"zero_variance_share", 0.5},
                         {"cut_off_share", 0.1}, {"grad_norm", 0.5},    {"ratio_max_abs_log", 0}, {"lag_max", 0},
                         {"lr", 1e-4},           {"weights_changed", 1}};
  for (const auto& [name, value] : changes) values[name] = value;
  return values;
}

/// "begins cut_off 3", "ends kl 3-7" …: what was said of the steps from `first` on, after each.
Lines said(Health& health, const std::vector<MetricValues>& steps, std::int64_t first = 1) {
  Lines lines;
  for (const MetricValues& metrics : steps) {
    for (const auto& [kind, finding] : health.step(first, metrics)) {
      const std::string since = finding.check + " " + std::to_string(finding.since);
      const char* verb = kind == Kind::kBegins ? "begins " : kind == Kind::kLasts ? "lasts " : "ends ";
      lines.push_back(std::to_string(first) + ": " + verb + since + (finding.until > 0 ? "-" + std::to_string(finding.until) : ""));
    }
    ++first;
  }
  return lines;
}

/// The one finding that five steps with these metrics make, after a first step that is well.
Finding finding_of(const MetricValues& changes, const Config& config = config_of_test()) {
  Health health(config);
  health.step(1, step_with());
  for (std::int64_t step = 2; step <= 6; ++step) health.step(step, step_with(changes));
  REQUIRE(health.current().size() == 1);
  return health.current().front();
}

bool silent(const MetricValues& changes, const Config& config = config_of_test()) {
  Health health(config);
  health.step(1, step_with());
  for (std::int64_t step = 2; step <= 40; ++step) health.step(step, step_with(changes));
  return health.findings().empty();
}

}  // namespace

TEST_SUITE("health") {
  TEST_CASE("a run that learns is not spoken of") { CHECK(silent({})); }

  TEST_CASE("a sign counts after five steps in a row, is said once, and is over after five without it") {
    Health health(config_of_test());
    const MetricValues bad = step_with({{"format", 0}}), good = step_with();
    CHECK(said(health, {good, bad, bad, bad, bad, good, bad, bad, bad, bad}) == Lines{});
    CHECK_FALSE(health.reason_to_stop());
    CHECK(said(health, {bad, bad, good, bad}, 11) == Lines{"11: begins never_in_form 7"});
    CHECK(said(health, {good, good, good, good, good, good}, 15) == Lines{"19: ends never_in_form 7-14"});
    CHECK(health.current().empty());
    CHECK(health.findings().size() == 1);
    CHECK(said(health, {bad, bad, bad, bad, bad}, 21) == Lines{"25: begins never_in_form 21"});
  }

  TEST_CASE("a sign that lasts is said again every hundred steps") {
    Health health(config_of_test());
    CHECK(said(health, std::vector<MetricValues>(205, step_with({{"format", 0}}))) ==
          Lines{"5: begins never_in_form 1", "101: lasts never_in_form 1", "201: lasts never_in_form 1"});
  }

  TEST_CASE("health.window is the number of steps, and a strict run stops only for a whole window") {
    Config config = config_of_test();
    config.health.window = 2;
    Health health(config);
    health.step(1, step_with({{"format", 0}}));
    CHECK_FALSE(health.reason_to_stop());
    health.step(2, step_with({{"format", 0}}));
    REQUIRE(health.reason_to_stop());
    CHECK(health.reason_to_stop()->check == "never_in_form");
    CHECK(health.reason_to_stop()->since == 1);
  }

  TEST_CASE("a step without the metric says nothing about its sign") {
    Health health(config_of_test());
    const MetricValues bad = {{"weights_changed", 0}}, nothing = {};
    CHECK(said(health, {bad, bad, nothing, nothing, bad, bad, nothing, bad}) == Lines{"8: begins weights_unchanged 1"});
  }

  TEST_CASE("equal rewards: 0 with a wrong gold, the highest where all is solved, else a reward that cannot tell") {
    const MetricValues dead = {{"reward_min", 0}, {"reward_max", 0}, {"accuracy", 0}, {"zero_variance_share", 1}};
    const Finding zero = finding_of(dead);
    CHECK(zero.check == "rewards_equal");
    CHECK(zero.since == 2);
    CHECK(zero.what == "every reward is 0");
    CHECK(zero.cause.find("gold") != std::string::npos);
    const MetricValues solved = {{"reward_min", 1.2}, {"reward_max", 1.2}, {"accuracy", 1}, {"zero_variance_share", 1}};
    CHECK(finding_of(solved).what == "every reward is 1.2");
    CHECK(finding_of(solved).cause.find("every prompt is solved") != std::string::npos);
    const MetricValues flat = {{"reward_min", 0.2}, {"reward_max", 0.2}, {"accuracy", 0.5}, {"zero_variance_share", 1}};
    CHECK(finding_of(flat).cause.find("do not tell completions apart") != std::string::npos);
    CHECK(silent({{"reward_min", 0}, {"reward_max", 0.2}}));
    // The overlong penalty still tells completions apart, which is all that the rewards as scored do not say.
    CHECK(silent({{"reward_min", 0}, {"reward_max", 0}, {"zero_variance_share", 0.75}}));
  }

  TEST_CASE("no right answer counts over 512 completions, and only of a reward that grades answers") {
    CHECK(finding_of({{"accuracy", 0}}).check == "never_right");
    CHECK(silent({{"accuracy", 0.004}}));
    Config small = config_of_test();
    small.batch.prompts = 4;
    small.group.size = 4;
    Health health(small);
    // 512 / 16 = 32 steps
    CHECK(said(health, std::vector<MetricValues>(33, step_with({{"accuracy", 0}}))) == Lines{"32: begins never_right 1"});
    Config shapes = config_of_test();
    shapes.rewards = {{"short", "length"}, {"alike", "math"}};
    CHECK(silent({{"accuracy", 0}}, shapes));
    shapes.rewards = {{"alike", "math"}, {"short", "length"}};
    CHECK(finding_of({{"accuracy", 0}}, shapes).check == "never_right");
  }

  TEST_CASE("completions cut off: from 95 % on, with the limit's value") {
    Config config = config_of_test();
    config.sampling.max_tokens = 12;
    CHECK(finding_of({{"cut_off_share", 0.95}}, config).what == "95 % of the completions are cut off at sampling.max_tokens = 12");
    CHECK(silent({{"cut_off_share", 0.94}}));
  }

  TEST_CASE("equal rewards within groups: from health.max_zero_variance on, not under the baseline of the whole step") {
    CHECK(finding_of({{"zero_variance_share", 0.9}}).what == "90 % of the groups have equal rewards and teach nothing");
    CHECK(silent({{"zero_variance_share", 0.89}}));
    Config config = config_of_test();
    config.health.max_zero_variance = 0.5;
    CHECK(finding_of({{"zero_variance_share", 0.5}}, config).check == "zero_variance");
    for (const char* advantage : {"reinforce_pp", "gae"}) {
      config.loss.advantage = advantage;
      CHECK(silent({{"zero_variance_share", 1}}, config));
    }
  }

  TEST_CASE("what follows from equal rewards is news only once those are over") {
    Health health(config_of_test());
    const MetricValues dead = step_with({{"reward_min", 0}, {"reward_max", 0}, {"accuracy", 0}, {"zero_variance_share", 1}});
    const MetricValues alike = step_with({{"accuracy", 0.5}, {"zero_variance_share", 1}});
    CHECK(said(health, std::vector<MetricValues>(7, dead)) == Lines{"5: begins rewards_equal 1"});
    CHECK(said(health, std::vector<MetricValues>(6, alike), 8) ==
          Lines{"12: ends rewards_equal 1-7", "12: begins zero_variance 1"});
    // Neither sign by itself fills the window here.
    Health mixed(config_of_test());
    CHECK(said(mixed, {alike, dead, dead, alike, alike}) == Lines{"5: begins zero_variance 1"});
  }

  TEST_CASE("KL runs away above health.max_kl, whatever its sign") {
    CHECK(finding_of({{"kl", 1.25}}).what == "the KL divergence to the reference has run away: 1.25 nats per token");
    CHECK(finding_of({{"kl", -1.25}}).check == "kl");
    CHECK(silent({{"kl", 1}}));
  }

  TEST_CASE("entropy runs away above twice the first step's and by more than health.max_entropy_rise") {
    // The first step has 0.3: the bound is 1.3.
    CHECK(finding_of({{"entropy", 1.375}}).what == "the entropy has run away: 1.38 nats per token, at first 0.3");
    CHECK(silent({{"entropy", 1.25}}));
    CHECK(silent({{"entropy", 0.001}}));
    Health high(config_of_test());
    high.step(1, step_with({{"entropy", 3}}));
    CHECK(said(high, std::vector<MetricValues>(10, step_with({{"entropy", 5.9}})), 2) == Lines{});
    CHECK(said(high, std::vector<MetricValues>(5, step_with({{"entropy", 6.1}})), 12) == Lines{"16: begins entropy 12"});
  }

  TEST_CASE("entropy has collapsed below health.min_entropy, unless nearly every answer is right") {
    CHECK(finding_of({{"entropy", 0.00098}}).check == "entropy_collapse");
    CHECK(finding_of({{"entropy", 0.00098}}).what == "the entropy has collapsed: 0.00098 nats per token");
    CHECK(finding_of({{"entropy", 0}, {"accuracy", 0.94}}).check == "entropy_collapse");
    CHECK(silent({{"entropy", 0}, {"accuracy", 0.95}}));
    Config config = config_of_test();
    config.health.min_entropy = 0.01;
    CHECK(finding_of({{"entropy", 0.0098}}, config).check == "entropy_collapse");
    CHECK(silent({{"entropy", 0.01}}, config));
    config.rewards = {{"short", "length"}};  // no answers are graded, so none are right
    CHECK(finding_of({{"entropy", 0}, {"accuracy", 1}}, config).check == "entropy_collapse");
  }

  TEST_CASE("a ratio far from 1 counts at lag 0 only") {
    CHECK(finding_of({{"ratio_max_abs_log", 0.625}}).what == "at lag 0 trainer and sampler disagree by a log ratio of up to 0.625");
    CHECK(silent({{"ratio_max_abs_log", 0.5}}));
    CHECK(silent({{"ratio_max_abs_log", 3}, {"lag_max", 1}}));
  }

  TEST_CASE("weights that do not change: the cause is read from rate and gradient") {
    CHECK(finding_of({{"weights_changed", 0}}).cause.find("too small for model.dtype = fp32") != std::string::npos);
    CHECK(finding_of({{"weights_changed", 0}, {"lr", 0}}).cause == "the learning rate is 0");
    CHECK(finding_of({{"weights_changed", 0}, {"grad_norm", 0}}).cause.find("the gradient is 0") == 0);
    const double nan = std::numeric_limits<double>::quiet_NaN();
    CHECK(finding_of({{"weights_changed", 0}, {"grad_norm", nan}}).cause.find("not finite") != std::string::npos);
    CHECK(silent({{"weights_changed", 0.01}}));
  }

  TEST_CASE("what the configuration makes certain is known before anything runs, and stops a strict run") {
    Config config = config_of_test();
    CHECK(Health(config).current().empty());
    config.optimizer.lr = 0;
    REQUIRE(Health(config).reason_to_stop());
    CHECK(describe(*Health(config).reason_to_stop()) ==
          "from the start: the weights do not change. Likely cause: optimizer.lr = 0");
    Health health(config);
    CHECK(said(health, std::vector<MetricValues>(10, step_with({{"weights_changed", 0}, {"lr", 0}}))) == Lines{});
    config = config_of_test();
    for (RewardConfig& reward : config.rewards) reward.weight = 0;
    CHECK(Health(config).current().front().check == "rewards_equal");
    config.rewards.front().weight = -1;
    CHECK(Health(config).current().empty());
  }

  TEST_CASE("a first look speaks where evaluation and first batch agree over 64 completions, and stops nothing") {
    const MetricValues cut = step_with({{"cut_off_share", 1}}), fine = step_with();
    Health health(config_of_test());
    CHECK(health.first_look({cut, cut}, 63).empty());
    CHECK(health.first_look({cut, fine}, 500).empty());
    CHECK(health.first_look({}, 500).empty());
    const auto news = health.first_look({cut, cut}, 64);
    REQUIRE(news.size() == 1);
    CHECK(news[0].kind == Kind::kBegins);
    CHECK(news[0].finding.check == "cut_off");
    CHECK(news[0].finding.since == 1);
    CHECK_FALSE(health.reason_to_stop());
    // The steps say no second time what is known, and take it back.
    CHECK(said(health, {cut, cut, cut, cut, cut}) == Lines{});
    CHECK(health.reason_to_stop());
    CHECK(said(health, {fine, fine, fine, fine, fine}, 6) == Lines{"10: ends cut_off 1-5"});
    // What only training shows is none of it.
    CHECK(Health(config_of_test()).first_look({step_with({{"weights_changed", 0}, {"kl", 9}})}, 500).empty());
  }

  TEST_CASE("refusals that leave no batch are said once at five batches' worth, and are over with filled ones") {
    Health health(config_of_test());
    CHECK(health.without_batch(3, {{"filtered", 79}, {"stale", 500}}).empty());
    const auto news = health.without_batch(3, {{"filtered", 80}});
    REQUIRE(news.size() == 1);
    CHECK(news[0].finding.check == "filtered");
    CHECK(news[0].finding.since == 3);
    CHECK(health.without_batch(3, {{"filtered", 200}}).empty());
    CHECK(health.without_batch(3, {{"filtered", 200}, {"failed", 81}})[0].finding.what ==
          "81 groups in a row got no reward without filling a batch");
    CHECK(health.reason_to_stop());
    CHECK(said(health, std::vector<MetricValues>(5, step_with()), 3) == Lines{"7: ends filtered 3-3", "7: ends failed 3-3"});
    CHECK_FALSE(health.reason_to_stop());
  }

  TEST_CASE("the fold over metrics.jsonl gives the learner's findings") {
    Health live(config_of_test());
    std::vector<MetricsLine> lines;
    for (std::int64_t step = 1; step <= 20; ++step) {
      lines.push_back({step, step_with({{"kl", step > 9 ? 2.0 : 0.1}, {"format", step < 12 ? 0.0 : 0.5}})});
      live.step(step, lines.back().values);
    }
    const Health read = health_of(config_of_test(), lines);
    CHECK(read.findings() == live.findings());
    CHECK(read.findings().size() == 2);
    CHECK(read.current().size() == 1);
    CHECK(read.reason_to_stop() == live.reason_to_stop());
  }
}

}  // namespace troupe
