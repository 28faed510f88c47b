#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

namespace troupe {

/// How far the trainer's log-probabilities of the trained tokens are from those that the sampler drew with, before the step's first
/// update: all 0 in exact mode at lag 0.
struct SamplerMismatch {
  std::int64_t tokens = 0;
  double sum = 0;      // of |log r|, r = p_trainer / p_sampler of a token
  double largest = 0;  // |log r|
  double ratios = 0;   // sum of r
  double squares = 0;  // sum of r²

  void add(double log_ratio) {
    ++tokens;
    sum += std::abs(log_ratio);
    largest = std::max(largest, std::abs(log_ratio));
    ratios += std::exp(log_ratio);
    squares += std::exp(2 * log_ratio);
  }

  /// Effective sample size of the tokens as drawn by importance, a share of their number: (Σ r)² / (n Σ r²), 1 where all ratios are equal
  /// (Kong 1992). 0 without tokens.
  double effective_share() const { return tokens == 0 ? 0 : ratios * ratios / (static_cast<double>(tokens) * squares); }
};

}  // namespace troupe
