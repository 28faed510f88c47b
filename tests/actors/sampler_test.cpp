#include "actors/sampler.h"

#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "common/base/error.h"
#include "common/model/token_logprobs.h"

namespace troupe {
namespace {

/// Logits whose soft-max is `probabilities`.
std::vector<float> logits_of(const std::vector<double>& probabilities) {
  std::vector<float> logits;
  for (const double p : probabilities) logits.push_back(static_cast<float>(std::log(p) + 1.5));
  return logits;
}

DrawnToken draw(const std::vector<float>& logits, const SamplingParams& sampling, double uniform) {
  SamplerScratch scratch;
  return draw_token(logits, sampling, {}, uniform, scratch);
}

SamplingParams truncated(int top_k, double top_p, double min_p) {
  SamplingParams sampling;
  sampling.top_k = top_k;
  sampling.top_p = top_p;
  sampling.min_p = min_p;
  return sampling;
}

TEST_SUITE("actors/sampler") {
  TEST_CASE("the token is the first, in id order, whose cumulative probability exceeds the uniform number") {
    const std::vector<float> logits = logits_of({0.1, 0.2, 0.3, 0.4});
    struct Case {
      double uniform;
      int token;
    };
    for (const Case& c :
         {Case{0.0, 0}, {0.0999, 0}, {0.1001, 1}, {0.2999, 1}, {0.3001, 2}, {0.5999, 2}, {0.6001, 3}, {0.9999, 3}}) {
      CAPTURE(c.uniform);
      CHECK(draw(logits, {}, c.uniform).id == c.token);
    }
  }

  TEST_CASE("a vocabulary of several blocks is one distribution") {
    const std::vector<float> logits(200, -3.0F);  // 0.005 each
    for (const int token : {0, 1, 63, 64, 65, 127, 128, 191, 192, 199}) {
      CAPTURE(token);
      CHECK(draw(logits, {}, (token + 0.1) / 200).id == token);
      CHECK(draw(logits, {}, (token + 0.9) / 200).id == token);
    }
  }

  TEST_CASE("a uniform number next to 1 draws a token that is possible") {
    const double highest = std::nextafter(1.0, 0.0);

    CHECK(draw({0, 0, 0, -500}, {}, highest).id == 2);
    CHECK(draw(std::vector<float>(300, 1.0F), {}, highest).id == 299);
    std::vector<float> one_possible(300, -500.0F);
    one_possible[70] = 4;
    CHECK(draw(one_possible, {}, highest).id == 70);
    CHECK(draw(one_possible, {}, 0.0).id == 70);
  }

  TEST_CASE("the temperature divides the logits") {
    const std::vector<float> logits = {0, std::log(4.0F)};  // at T = 2: 1/3 and 2/3
    SamplingParams sampling;
    sampling.temperature = 2;

    CHECK(draw(logits, sampling, 0.333).id == 0);
    const DrawnToken second = draw(logits, sampling, 0.334);

    CHECK(second.id == 1);
    CHECK(second.logprob == doctest::Approx(std::log(2.0 / 3)).epsilon(1e-6));
  }

  TEST_CASE("the log-probability has the bits of the trainer's formula") {
    std::vector<float> logits;
    for (int v = 0; v < 1000; ++v) logits.push_back(5 * std::sin(static_cast<float>(v)));
    for (const double temperature : {1.0, 0.7}) {
      SamplingParams sampling;
      sampling.temperature = temperature;
      const auto t = static_cast<float>(temperature);
      const float lse = log_sum_exp(logits.data(), 1000, t);
      for (const double uniform : {0.01, 0.4, 0.77, 0.99}) {
        const DrawnToken drawn = draw(logits, sampling, uniform);
        CHECK(drawn.logprob == logits[static_cast<std::size_t>(drawn.id)] / t - lse);
      }
    }
  }

  TEST_CASE("temperature 0 takes the highest logit, the lowest id on ties, with the untempered log-probability") {
    SamplingParams greedy = truncated(3, 0.1, 0.9);
    greedy.temperature = 0;
    const std::vector<float> logits = logits_of({0.2, 0.1, 0.3, 0.1, 0.3});

    const DrawnToken drawn = draw(logits, greedy, 0.99);

    CHECK(drawn.id == 2);
    CHECK(drawn.logprob == doctest::Approx(std::log(0.3)).epsilon(1e-6));
  }

  TEST_CASE("truncation keeps what transformers keeps and renormalises it") {
    struct Case {
      const char* what;
      std::vector<double> probabilities;
      SamplingParams sampling;
      std::vector<int> kept;
    };
    const std::vector<Case> cases = {
        {"top-k", {0.1, 0.4, 0.2, 0.3}, truncated(2, 1, 0), {1, 3}},
        {"equals of the k-th stay", {0.2, 0.4, 0.2, 0.2}, truncated(2, 1, 0), {0, 1, 2, 3}},
        {"a k beyond the vocabulary", {0.1, 0.4, 0.2, 0.3}, truncated(9, 1, 0), {0, 1, 2, 3}},
        {"top-p: the fewest that reach it", {0.1, 0.4, 0.2, 0.3}, truncated(0, 0.65, 0), {1, 3}},
        {"top-p: one more", {0.1, 0.4, 0.2, 0.3}, truncated(0, 0.75, 0), {1, 2, 3}},
        {"top-p: the most probable always", {0.1, 0.4, 0.2, 0.3}, truncated(0, 0.01, 0), {1}},
        {"top-p: the lower id of equals", {0.2, 0.2, 0.2, 0.4}, truncated(0, 0.7, 0), {0, 1, 3}},
        {"min-p: relative to the most probable", {0.1, 0.4, 0.2, 0.3}, truncated(0, 1, 0.6), {1, 3}},
        {"min-p 1", {0.1, 0.4, 0.2, 0.3}, truncated(0, 1, 1), {1}},
        {"top-p counts what top-k left: 4/7 reaches 0.55", {0.1, 0.4, 0.2, 0.3}, truncated(2, 0.55, 0), {1}},
        {"min-p after top-p", {0.1, 0.4, 0.2, 0.3}, truncated(0, 0.75, 0.6), {1, 3}},
    };
    for (const Case& c : cases) {
      CAPTURE(c.what);
      const std::vector<float> logits = logits_of(c.probabilities);
      double total = 0;
      for (const int id : c.kept) total += c.probabilities[static_cast<std::size_t>(id)];

      double below = 0;
      for (const int id : c.kept) {
        const double p = c.probabilities[static_cast<std::size_t>(id)] / total;
        for (const double inside : {0.01, 0.99}) {
          const DrawnToken drawn = draw(logits, c.sampling, below + inside * p);
          CHECK(drawn.id == id);
          CHECK(drawn.logprob == doctest::Approx(std::log(p)).epsilon(1e-5));
        }
        below += p;
      }
    }
  }

  TEST_CASE("truncation acts on the tempered distribution") {
    SamplingParams sampling = truncated(0, 0.6, 0);
    sampling.temperature = 0.5;  // 0.4 0.3 0.2 0.1 become 16 9 4 1 thirtieths: two are needed for 0.6

    CHECK(draw(logits_of({0.4, 0.3, 0.2, 0.1}), sampling, 0.63).id == 0);
    CHECK(draw(logits_of({0.4, 0.3, 0.2, 0.1}), sampling, 0.65).id == 1);
  }

  TEST_CASE("a draw leaves nothing in the scratch memory for the next one") {
    const std::vector<float> wide = logits_of({0.1, 0.2, 0.3, 0.1, 0.1, 0.2});
    const std::vector<float> narrow = logits_of({0.5, 0.25, 0.25});
    SamplerScratch scratch;

    (void)draw_token(wide, truncated(4, 0.9, 0.1), {}, 0.5, scratch);

    CHECK(draw_token(narrow, truncated(2, 1, 0), {}, 0.3, scratch) == draw(narrow, truncated(2, 1, 0), 0.3));
  }

  TEST_CASE("banned tokens are never drawn, and the others share their probability") {
    const std::vector<float> logits = {0.5F, 4.0F, 0.25F, -1.0F, 3.0F};
    const std::vector<std::int32_t> banned = {1, 4};
    const std::vector<float> rest = {0.5F, 0.25F, -1.0F};
    const std::vector<std::int32_t> ids = {0, 2, 3};
    SamplerScratch scratch;
    SamplingParams greedy;
    greedy.temperature = 0;
    for (const SamplingParams& sampling : {SamplingParams{}, truncated(2, 1, 0), truncated(0, 0.7, 0), greedy}) {
      for (const double uniform : {0.0, 0.3, 0.6, 0.9, 0.999}) {
        const DrawnToken drawn = draw_token(logits, sampling, banned, uniform, scratch);
        const DrawnToken expected = draw(rest, sampling, uniform);
        CHECK(drawn.id == ids[static_cast<std::size_t>(expected.id)]);
        CHECK(drawn.logprob == doctest::Approx(expected.logprob).epsilon(1e-6));
      }
    }
  }

  TEST_CASE("a logit that is not finite is an error that names the token") {
    for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(),
                            -std::numeric_limits<float>::infinity()}) {
      for (const double temperature : {0.0, 1.0}) {
        std::vector<float> logits(100, 0.0F);
        logits[97] = bad;
        SamplingParams sampling;
        sampling.temperature = temperature;
        CHECK_THROWS_WITH_AS(draw(logits, sampling, 0.5), doctest::Contains("token 97"), DeviceError);
      }
    }
  }

  TEST_CASE("parameters out of range are refused by name") {
    struct Case {
      const char* field;
      SamplingParams sampling;
    };
    const double nan = std::numeric_limits<double>::quiet_NaN();
    std::vector<Case> cases = {{"top_k", truncated(-1, 1, 0)},  {"top_p", truncated(0, 0, 0)},
                               {"top_p", truncated(0, 1.1, 0)}, {"top_p", truncated(0, nan, 0)},
                               {"min_p", truncated(0, 1, -1)},  {"min_p", truncated(0, 1, 2)}};
    for (const double temperature : {-1.0, 1e-9, nan}) {
      SamplingParams sampling;
      sampling.temperature = temperature;
      cases.push_back({"temperature", sampling});
    }
    SamplingParams no_tokens;
    no_tokens.max_tokens = 0;
    cases.push_back({"max_tokens", no_tokens});
    SamplingParams no_end;
    no_end.min_tokens = no_end.max_tokens;
    cases.push_back({"min_tokens", no_end});
    SamplingParams empty_text;
    empty_text.stop_texts = {"x", ""};
    cases.push_back({"stop_texts", empty_text});
    SamplingParams long_text = truncated(1, 1, 0), many_texts = long_text;
    long_text.stop_texts = {std::string(513, 'x')};
    cases.push_back({"stop_texts = a text of 513 bytes", long_text});
    many_texts.stop_texts.assign(257, "x");
    cases.push_back({"stop_texts = 257 texts", many_texts});
    for (const Case& c : cases) {
      CHECK_THROWS_WITH_AS(validate_sampling(c.sampling), doctest::Contains(c.field), ConfigError);
    }
    CHECK_NOTHROW(validate_sampling(truncated(1, 1e-3, 1)));
  }
}

}  // namespace
}  // namespace troupe
