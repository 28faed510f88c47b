#include "learner/replay/tolerance.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <span>

#include "common/base/text.h"
#include "learner/replay/differences.h"

namespace troupe {
namespace {

constexpr double kFloatUnit = 0x1p-24;
constexpr double kDoubleUnit = 0x1p-53;

std::span<const float> part_of(const at::Tensor& flat, const ParameterSpec& spec) {
  return {flat.const_data_ptr<float>() + spec.offset, static_cast<std::size_t>(spec.numel)};
}

/// Of the terms w (J + beta k) that the loss adds up: |J| is at most r |A|, or |A logp| of some policies, and the KL part no
/// more than the loss and the rest together.
double magnitude_of(const UpdateTrace& update) {
  double sum = 0;
  for (std::size_t i = 0; i < update.logprobs.size(); ++i) {
    const double logp = static_cast<double>(update.logprobs[i]);
    const double ratio = std::exp(logp - static_cast<double>(update.old_logprobs[i]));
    const double objective = std::max({1.0, ratio, std::abs(logp)}) * std::abs(static_cast<double>(update.advantages[i]));
    sum += static_cast<double>(update.token_weights[i]) * objective;
  }
  return 2 * sum + std::abs(update.loss);
}

/// The first element further off than `allowed` gives for its tensor.
template <class Allowed>
std::string first_beyond(const std::string& what, const ParameterLayout& layout, const at::Tensor& expected,
                         const at::Tensor& found, Allowed allowed) {
  for (std::size_t t = 0; t < layout.tensors.size(); ++t) {
    const ParameterSpec& spec = layout.tensors[t];
    const auto a = part_of(expected, spec);
    const auto b = part_of(found, spec);
    for (std::size_t i = 0; i < a.size(); ++i) {
      const double difference = std::abs(static_cast<double>(a[i]) - static_cast<double>(b[i]));
      if (difference <= allowed(t, static_cast<double>(a[i]))) continue;  // not so where it is not a number
      return what + " " + element_name(spec, static_cast<std::int64_t>(i)) + ": expected " + shortest(static_cast<double>(a[i])) +
             " within " + shortest(allowed(t, static_cast<double>(a[i]))) + ", found " + shortest(static_cast<double>(b[i]));
    }
  }
  return "";
}

}  // namespace

StepTolerance tolerance_of(const ParameterLayout& layout, const UpdateTrace& update, int ranks) {
  StepTolerance tolerance;
  tolerance.terms = std::accumulate(update.sequence_tokens.begin(), update.sequence_tokens.end(), std::int64_t{0}) + ranks;
  const auto terms = static_cast<double>(tolerance.terms);
  tolerance.loss = 2 * terms * kDoubleUnit * magnitude_of(update);
  double squares = 0;
  for (const ParameterSpec& spec : layout.tensors) {
    double largest = 0;
    for (const float g : part_of(update.gradients, spec)) largest = std::max(largest, std::abs(static_cast<double>(g)));
    tolerance.gradients.push_back(terms * kFloatUnit * largest);
    squares += static_cast<double>(spec.numel) * tolerance.gradients.back() * tolerance.gradients.back();
  }
  tolerance.grad_norm = std::sqrt(squares);
  return tolerance;
}

std::string beyond(const StepTolerance& tolerance, const ParameterLayout& layout, const UpdateTrace& expected,
                   const UpdateTrace& found) {
  if (!(std::abs(expected.loss - found.loss) <= tolerance.loss)) {
    return "loss: expected " + shortest(expected.loss) + " within " + shortest(tolerance.loss) + ", found " + shortest(found.loss);
  }
  return first_beyond("gradient", layout, expected.gradients, found.gradients,
                      [&](std::size_t tensor, double) { return tolerance.gradients[tensor]; });
}

double longest_way(const OptimizerConfig& config, std::int64_t t, double lr) {
  const auto corrected = [t](double beta) { return (1 - beta) / (1 - std::pow(beta, static_cast<double>(t))); };
  const double ratio = config.beta1 * config.beta1 / config.beta2;
  double sum = 0;
  double power = 1;
  for (std::int64_t i = 0; i < t && power > 0; ++i, power *= ratio) sum += power;
  return lr * corrected(config.beta1) * std::sqrt(sum / corrected(config.beta2));
}

std::string weight_beyond(const ParameterLayout& layout, double bound, const at::Tensor& expected, const at::Tensor& found) {
  // The weight itself is rounded after decay and step: two units in its last place.
  return first_beyond("weight", layout, expected, found,
                      [&](std::size_t, double weight) { return bound + 4 * kFloatUnit * std::abs(weight); });
}

}  // namespace troupe
