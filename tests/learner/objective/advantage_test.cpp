#include "learner/objective/advantage.h"

#include <doctest/doctest.h>

#include <cmath>
#include <string>

#include "common/base/error.h"

namespace troupe {
namespace {

using doctest::Approx;
constexpr auto kMissing = std::nullopt;

void check_equal(const GroupAdvantages& found, const GroupAdvantages& expected) {
  REQUIRE(found.size() == expected.size());
  for (std::size_t i = 0; i < found.size(); ++i) {
    CAPTURE(i);
    REQUIRE(found[i].has_value() == expected[i].has_value());
    if (found[i]) CHECK(*found[i] == Approx(*expected[i]).epsilon(1e-14));
  }
}

}  // namespace

TEST_SUITE("objective/advantage") {
  TEST_CASE("grpo divides the distance from the group's mean by the group's population std") {
    // 0 0 0 1: mean 1/4, variance 3/16, std sqrt(3)/4: -1/sqrt(3) and 3/sqrt(3). 1 3: mean 2, std 1.
    const auto found = advantages("grpo", {{0.0, 0.0, 0.0, 1.0}, {1.0, 3.0}});

    const double third = 1 / std::sqrt(3.0);
    check_equal(found[0], {-third, -third, -third, 3 * third});
    check_equal(found[1], {-1.0, 1.0});
  }

  TEST_CASE("no_std only subtracts the group's mean") {
    check_equal(advantages("no_std", {{0.0, 0.0, 0.0, 1.0}})[0], {-0.25, -0.25, -0.25, 0.75});
  }

  TEST_CASE("rloo subtracts the mean of the others") {
    // 1 - (2 + 6)/2, 2 - (1 + 6)/2, 6 - (1 + 2)/2
    check_equal(advantages("rloo", {{1.0, 2.0, 6.0}})[0], {-3.0, -1.5, 4.5});
  }

  TEST_CASE("reinforce_pp normalises over the step, without a group baseline") {
    // 1 1 | 3 7: mean 3, variance (4 + 4 + 0 + 16)/4 = 6
    const auto found = advantages("reinforce_pp", {{1.0, 1.0}, {3.0, 7.0}});

    const double std = std::sqrt(6.0);
    check_equal(found[0], {-2 / std, -2 / std});
    check_equal(found[1], {0.0, 4 / std});
  }

  TEST_CASE("gae leaves the rewards to the critic") {
    check_equal(advantages("gae", {{1.0, kMissing, 3.0}})[0], {1.0, kMissing, 3.0});
  }

  TEST_CASE("reinforce_pp_baseline normalises the distances from the groups' means over the step") {
    // 1 1 | 3 7 less their means: 0 0 | -2 2, whose mean is 0 and variance 2
    const auto found = advantages("reinforce_pp_baseline", {{1.0, 1.0}, {3.0, 7.0}});

    const double root = std::sqrt(2.0);
    check_equal(found[0], {0.0, 0.0});
    check_equal(found[1], {-root, root});
  }

  TEST_CASE("a missing reward is in no statistic and has no advantage") {
    const std::vector<GroupRewards> step = {{kMissing, 1.0, 3.0}, {5.0, kMissing, 7.0}};

    check_equal(advantages("grpo", step)[0], {kMissing, -1.0, 1.0});
    check_equal(advantages("no_std", step)[1], {-1.0, kMissing, 1.0});
    check_equal(advantages("rloo", step)[1], {-2.0, kMissing, 2.0});
    // 1 3 5 7: mean 4, variance 5
    check_equal(advantages("reinforce_pp", step)[1], {1 / std::sqrt(5.0), kMissing, 3 / std::sqrt(5.0)});
  }

  TEST_CASE("equal rewards and lone ones have advantage 0 under every group baseline") {
    for (const std::string kind : {"grpo", "no_std", "rloo", "reinforce_pp", "reinforce_pp_baseline"}) {
      CAPTURE(kind);
      check_equal(advantages(kind, {{0.1, 0.1, 0.1}})[0], {0.0, 0.0, 0.0});
      check_equal(advantages(kind, {{kMissing, 0.7}})[0], {kMissing, 0.0});
      check_equal(advantages(kind, {{kMissing}})[0], {kMissing});
      CHECK(advantages(kind, {}).empty());
    }
  }

  TEST_CASE("sums of the same components in another order count as equal, rewards a millionth apart do not") {
    const double one_way = 0.1 + 0.2 + 0.3;
    const double other_way = 0.3 + 0.2 + 0.1;
    REQUIRE(one_way != other_way);

    CHECK(rewards_are_equal(GroupRewards{one_way, other_way}));
    check_equal(advantages("grpo", {{one_way, other_way}})[0], {0.0, 0.0});
    CHECK(rewards_are_equal(GroupRewards{-1e6, -1e6 - 1e-9}));
    CHECK_FALSE(rewards_are_equal(GroupRewards{1.0, 1.000001}));
    CHECK(advantages("grpo", {{1.0, 1.000001}})[0][1] == Approx(1).epsilon(1e-9));
  }

  TEST_CASE("rewards are equal where fewer than two are left") {
    CHECK(rewards_are_equal(GroupRewards{}));
    CHECK(rewards_are_equal(GroupRewards{kMissing, 1.0}));
    CHECK(rewards_are_equal(GroupRewards{1.0, kMissing, 1.0}));
    CHECK_FALSE(rewards_are_equal(GroupRewards{1.0, kMissing, 0.0}));
  }

  TEST_CASE("an unknown kind is refused by its name") {
    CHECK_THROWS_WITH_AS(advantages("median", {}), doctest::Contains("\"median\""), ConfigError);
  }

  TEST_CASE("the overlong penalty falls linearly over the buffer") {
    // max 100, buffer 20, penalty 0.5
    CHECK(overlong_penalty(1, 100, 20, 0.5) == 0);
    CHECK(overlong_penalty(80, 100, 20, 0.5) == 0);
    CHECK(overlong_penalty(85, 100, 20, 0.5) == Approx(-0.125));
    CHECK(overlong_penalty(100, 100, 20, 0.5) == Approx(-0.5));
    CHECK(overlong_penalty(120, 100, 20, 0.5) == Approx(-0.5));
    CHECK(overlong_penalty(100, 100, 0, 0.5) == 0);
  }
}

}  // namespace troupe
