#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <vector>

#include "common/config/config.h"
#include "common/model/parameters.h"
#include "learner/update_trace.h"

namespace troupe {

/// How far a step may come out from itself on another number of ranks. Log-probabilities are the same bits there, and so is
/// what each token adds to the gradient: only sums are taken in another order.
struct StepTolerance {
  std::int64_t terms = 0;         // n: of the longest fp32 sum, tokens and ranks
  double loss = 0;                // a double sum of the tokens' terms, of magnitude M: 2 n 2^-53 M
  std::vector<double> gradients;  // of each tensor: n 2^-24 of its largest gradient
  double grad_norm = 0;           // the norm of a vector of the above
};

/// Of one update. n 2^-24 bounds the error of a sum relative to the sum of its terms' magnitudes; taking the tensor's largest
/// gradient for those leaves room for a cancellation of sqrt(n) and more, since the error of n roundings grows as sqrt(n) only
/// (Higham, Mary 2019, "A new approach to probabilistic rounding error analysis").
StepTolerance tolerance_of(const ParameterLayout& layout, const UpdateTrace& update, int ranks);

/// How far update t (from 1) can move a weight, decay apart: lr |m| / sqrt(v) <= lr B with B = sqrt(sum_i a_i^2 / b_i) over the
/// bias-corrected weights a of beta1 and b of beta2 (Cauchy-Schwarz; B is 1 at the first update and grows with t). Where a
/// gradient is all rounding error AdamW still makes a whole step of it, in either direction, so two runs of one update are up to
/// twice this apart.
double longest_way(const OptimizerConfig& config, std::int64_t t, double lr);

/// The first thing in which `found` is further from `expected` than the tolerance allows, with both values; "" where all is within.
std::string beyond(const StepTolerance& tolerance, const ParameterLayout& layout, const UpdateTrace& expected,
                   const UpdateTrace& found);

/// The first weight that is more than `bound` (and the rounding of its last place) apart; "" where none is.
std::string weight_beyond(const ParameterLayout& layout, double bound, const at::Tensor& expected, const at::Tensor& found);

}  // namespace troupe
