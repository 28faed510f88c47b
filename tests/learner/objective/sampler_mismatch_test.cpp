#include "learner/objective/sampler_mismatch.h"

#include <doctest/doctest.h>

using namespace troupe;

TEST_SUITE("objective/sampler_mismatch") {
  TEST_CASE("equal ratios waste no sample, whatever they are; a token that outweighs the others leaves but one") {
    SamplerMismatch even, one;
    CHECK(even.effective_share() == 0);
    for (int i = 0; i < 4; ++i) {
      even.add(0.5);
      one.add(i == 2 ? 20 : -20);
    }
    CHECK(even.effective_share() == doctest::Approx(1));
    CHECK(one.effective_share() == doctest::Approx(0.25));
  }

  TEST_CASE("by hand: ratios 2, 1 and 1/2") {
    SamplerMismatch m;
    for (const double ratio : {2.0, 1.0, 0.5}) m.add(std::log(ratio));
    CHECK(m.tokens == 3);
    CHECK(m.sum == doctest::Approx(2 * std::log(2)));
    CHECK(m.largest == doctest::Approx(std::log(2)));
    CHECK(m.effective_share() == doctest::Approx(3.5 * 3.5 / (3 * 5.25)));
  }
}
