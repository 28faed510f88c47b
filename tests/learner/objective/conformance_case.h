#pragma once

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <numeric>
#include <string>
#include <vector>

#include "learner/objective/token_weights.h"
#include "tests/learner/objective/loss_batch.h"

namespace troupe::test {

using nlohmann::json;
using Numbers = std::vector<double>;

/// A row of rl_numeric_cases.jsonl with its fixtures filled in.
struct Case {
  json in;
  json out;
  double rtol = 0;
  double atol = 0;

  void same(double found, double expected) const {
    CAPTURE(found);
    CAPTURE(expected);
    CHECK(near(found, expected, rtol, atol));
  }
  void same(const Numbers& found, const Numbers& expected) const {
    REQUIRE(found.size() == expected.size());
    for (std::size_t i = 0; i < found.size(); ++i) same(found[i], expected[i]);
  }
};

// Numbers of a list, nested or {"shape", "data"}, in order; null is NaN.
inline void flatten(const json& value, Numbers& result) {
  if (value.is_object()) return flatten(value.at("data"), result);
  if (!value.is_array()) return result.push_back(value.is_null() ? std::nan("") : value.get<double>());
  for (const json& item : value) flatten(item, result);
}
inline Numbers numbers(const json& value) {
  Numbers result;
  flatten(value, result);
  return result;
}
inline std::vector<float> floats(const json& value) {
  const Numbers wide = numbers(value);
  std::vector<float> result(wide.size());
  std::transform(wide.begin(), wide.end(), result.begin(), [](double x) { return static_cast<float>(x); });
  return result;
}
inline std::vector<std::int64_t> row_lengths(const json& value) {
  if (value.is_object())
    return std::vector<std::int64_t>(value.at("shape").at(0), value.at("shape").at(1).get<std::int64_t>());
  std::vector<std::int64_t> lengths;
  for (const json& row : value) lengths.push_back(static_cast<std::int64_t>(row.size()));
  return lengths;
}
inline std::vector<std::int64_t> offsets_of(const std::vector<std::int64_t>& lengths) {
  std::vector<std::int64_t> offsets(lengths.size() + 1, 0);
  std::partial_sum(lengths.begin(), lengths.end(), offsets.begin() + 1);
  return offsets;
}

inline LossConfig normalised(const char* kind) {
  LossConfig config;
  config.normalise = kind;
  return config;
}

// The weights of a masked [rows, tokens] update: rows without a token do not count.
inline Numbers weights(const char* normalise, const Numbers& mask, const std::vector<std::int64_t>& lengths,
                       std::int64_t max_tokens = 1) {
  const std::vector<std::int64_t> offsets = offsets_of(lengths);
  std::vector<std::int64_t> tokens;
  for (std::size_t i = 0; i < lengths.size(); ++i) {
    const auto begin = mask.begin() + offsets[i];
    tokens.push_back(std::count(begin, begin + lengths[i], 1.0));
  }
  const auto sequences =
      static_cast<std::int64_t>(std::count_if(tokens.begin(), tokens.end(), [](auto n) { return n > 0; }));
  const std::int64_t total = std::accumulate(tokens.begin(), tokens.end(), std::int64_t{0});
  Numbers result(mask.size(), 0);
  for (std::size_t i = 0; i < lengths.size(); ++i) {
    for (auto t = static_cast<std::size_t>(offsets[i]); t < static_cast<std::size_t>(offsets[i + 1]); ++t) {
      if (mask[t] != 0) result[t] = token_weight(normalised(normalise), tokens[i], sequences, total, max_tokens);
    }
  }
  return result;
}

inline double weighted_sum(const Numbers& weight, const Numbers& values) {
  return std::inner_product(weight.begin(), weight.end(), values.begin(), 0.0);
}

}  // namespace troupe::test
