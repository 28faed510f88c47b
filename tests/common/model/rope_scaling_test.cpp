#include "common/model/rope_scaling.h"

#include <doctest/doctest.h>

#include <vector>

#include "common/base/error.h"

using troupe::radians_a_position;
using troupe::RopeScaling;
using Frequencies = std::vector<float>;

namespace {

RopeScaling scaling_of(const nlohmann::json& object) { return RopeScaling::from_json(object, 4096.0, "t"); }

}  // namespace

// `inv_freq` of transformers 5.23's LlamaRotaryEmbedding on torch 2.11, to the bit: an angle is position times this in fp32, so that
// a last bit is 1e-4 radians at 2,000 positions. (Torch rounds some powers otherwise than to nearest; none of these.)
TEST_SUITE("model/rope_scaling") {
  TEST_CASE("frequencies without scaling are those of transformers") {
    const Frequencies plain = radians_a_position(1e6, 24, {});
    CHECK(plain[0] == 1.0F);
    CHECK(plain[1] == 0.316227764F);
    CHECK(plain[2] == 0.099999994F);
    CHECK(plain[4] == 0.00999999885F);
    CHECK(plain.size() == 12);
  }

  TEST_CASE("linear scaling divides every frequency") {
    CHECK(radians_a_position(10000.0, 16, scaling_of({{"rope_type", "linear"}, {"factor", 3.0}})) ==
          Frequencies{0.333333343F, 0.105409257F, 0.0333333351F, 0.0105409259F, 0.00333333318F, 0.00105409266F, 0.000333333359F,
                      0.000105409265F});
  }

  TEST_CASE("Llama 3's scaling leaves short waves, divides long ones and blends between") {
    const Frequencies scaled = radians_a_position(500000.0, 24, scaling_of({{"rope_type", "llama3"},
                                                                            {"factor", 32.0},
                                                                            {"low_freq_factor", 1.0},
                                                                            {"high_freq_factor", 4.0},
                                                                            {"original_max_position_embeddings", 256}}));
    const Frequencies expected = {1.0F,           0.335031629F,   0.112246193F,   0.00763810938F, 0.000393725262F, 0.000131910463F,
                                  4.41941702e-05F, 1.48064501e-05F, 4.96062694e-06F, 1.66196742e-06F, 5.5681187e-07F, 1.86549485e-07F};
    for (std::size_t i = 0; i < expected.size(); ++i) CHECK(scaled[i] == doctest::Approx(expected[i]).epsilon(4e-7));
    CHECK(scaled[1] == expected[1]);
  }

  TEST_CASE("YaRN blends between two pairs, whole ones or not") {
    nlohmann::json yarn = {{"rope_type", "yarn"}, {"factor", 5.0}, {"original_max_position_embeddings", 64}, {"beta_fast", 8.0}, {"beta_slow", 0.5}};
    CHECK(radians_a_position(10000.0, 16, scaling_of(yarn)) == Frequencies{1.0F, 0.231900349F, 0.0466666669F, 0.00632455572F, 0.00200000009F,
                                                                           0.000632455572F, 0.000199999995F, 6.32455558e-05F});
    yarn["truncate"] = false;
    const Frequencies exact = radians_a_position(10000.0, 16, scaling_of(yarn));
    CHECK(exact[1] == doctest::Approx(0.233220518F).epsilon(2e-7));
    CHECK(exact[2] == doctest::Approx(0.0405315235F).epsilon(2e-7));
    CHECK(exact[3] == 0.00632455572F);
  }

  TEST_CASE("parameters of their own for a kind of layers are refused") {
    CHECK_THROWS_WITH_AS(scaling_of({{"full_attention", {{"rope_type", "yarn"}}}}),
                         "t: full_attention: parameters of their own for a kind of layers are not supported", troupe::ConfigError);
  }
}
