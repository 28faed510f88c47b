#include "launch/eval_statistics.h"

#include <doctest/doctest.h>

using namespace troupe;

namespace {

constexpr std::nullopt_t kNone = std::nullopt;

/// "R0 W1 W- F0": right or wrong or failed, and the number of its answer.
std::vector<Answered> row_of(const std::string& text) {
  std::vector<Answered> row;
  for (std::size_t i = 0; i + 1 < text.size(); i += 3) {
    Answered& a = row.emplace_back();
    if (text[i] != 'F') a.right = text[i] == 'R';
    if (text[i + 1] != '-') a.vote = static_cast<std::size_t>(text[i + 1] - '0');
  }
  return row;
}

}  // namespace

TEST_SUITE("launch/eval_statistics") {
  TEST_CASE("pass@k is the share of draws of k that have a right one") {
    for (std::int64_t samples = 1; samples <= 7; ++samples) {
      for (std::int64_t right = 0; right <= samples; ++right) {
        std::vector<int> draws(static_cast<std::size_t>(samples) + 1), lucky(draws.size());
        for (unsigned set = 1; set < 1U << samples; ++set) {  // the first `right` ones are right
          const auto k = static_cast<std::size_t>(__builtin_popcount(set));
          ++draws[k];
          if ((set & ((1U << right) - 1)) != 0) ++lucky[k];
        }
        for (std::int64_t k = 1; k <= samples; ++k) {
          const auto i = static_cast<std::size_t>(k);
          CHECK(pass_at(k, samples, right) == doctest::Approx(static_cast<double>(lucky[i]) / draws[i]));
        }
      }
    }
    CHECK(pass_at(1, 64, 16) == doctest::Approx(0.25));
  }

  TEST_CASE("answers that are the same have one vote's number") {
    const std::vector<std::optional<std::string>> answers = {"ab", kNone, "x", "ba", "x"};
    const auto votes = votes_of(answers, [](const std::string& a, const std::string& b) { return a == b || (a == "ba" && b == "ab"); });
    CHECK(votes == std::vector<std::optional<std::size_t>>{0, kNone, 1, 0, 1});
  }

  TEST_CASE("the most frequent answer counts; of two as frequent the first given; who gives none does not vote") {
    CHECK(majority_is_right(row_of("W0 R1 R1")));
    CHECK_FALSE(majority_is_right(row_of("W0 W0 R1 R2 R3")));
    CHECK(majority_is_right(row_of("R1 W0 R1 W0")));
    CHECK_FALSE(majority_is_right(row_of("W1 R0 W1 R0")));
    CHECK(majority_is_right(row_of("W- W- W- R0")));
    CHECK_FALSE(majority_is_right(row_of("W- W-")));
    CHECK_FALSE(majority_is_right(row_of("F0 F0 R1")));
  }

  TEST_CASE("numbers are means over rows; failed completions are in no pass@k") {
    const EvalNumbers numbers = numbers_of({row_of("R0 W1 R0 W1"), row_of("W0 W1 W2 R3"), row_of("F- F- R0 F-")});
    CHECK(numbers.failed == 3);
    CHECK(numbers.pass.at(1) == doctest::Approx((0.5 + 0.25 + 1) / 3));
    CHECK(numbers.pass.at(2) == doctest::Approx((5.0 / 6 + 0.5) / 2));
    CHECK(numbers.pass.at(4) == doctest::Approx(1.0));
    CHECK(numbers.pass.size() == 3);
    CHECK(numbers.majority.at(1) == doctest::Approx((0.5 + 0.25 + 0.25) / 3));
    CHECK(numbers.majority.at(2) == doctest::Approx((1.0 + 0 + 0.5) / 3));
    CHECK(numbers.majority.at(4) == doctest::Approx((1.0 + 0 + 1) / 3));
    CHECK(numbers.pass_1_error == doctest::Approx(0.2204793));  // sqrt(0.145833 / 3)
    CHECK(numbers_of({row_of("R- W-")}).majority.empty());
    CHECK(numbers_of({row_of("R0 W1 W1")}).pass.size() == 3);  // k = 1, 2 and 3
  }
}
