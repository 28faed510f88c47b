#include "learner/objective/margin_loss.h"

#include <doctest/doctest.h>

#include <cmath>

using namespace troupe;

TEST_SUITE("objective/margin_loss") {
  TEST_CASE("loss and slope are those worked by hand") {
    CHECK(margin_loss(0).loss == doctest::Approx(std::log(2.0)).epsilon(1e-15));
    CHECK(margin_loss(0).slope == -0.5);
    CHECK(margin_loss(1).loss == doctest::Approx(0.31326168751822286).epsilon(1e-15));    // ln(1 + 1/e)
    CHECK(margin_loss(1).slope == doctest::Approx(-0.26894142136999512).epsilon(1e-15));  // -1/(1 + e)
    CHECK(margin_loss(-2).loss == doctest::Approx(2.1269280110429727).epsilon(1e-15));
    CHECK(margin_loss(-2).slope == doctest::Approx(-0.88079707797788231).epsilon(1e-15));
  }

  TEST_CASE("large margins neither overflow nor vanish too early") {
    CHECK(margin_loss(-1000).loss == 1000);
    CHECK(margin_loss(-1000).slope == -1);
    CHECK(margin_loss(1000).loss == 0);
    CHECK(margin_loss(50).loss == doctest::Approx(std::exp(-50.0)).epsilon(1e-12));
    CHECK(margin_loss(50).slope == doctest::Approx(-std::exp(-50.0)).epsilon(1e-12));
  }
}
