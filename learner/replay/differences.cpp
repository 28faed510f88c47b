#include "learner/replay/differences.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <span>

#include "common/base/error.h"
#include "common/base/text.h"

namespace troupe {
namespace {

bool same_bits(float a, float b) { return std::bit_cast<std::uint32_t>(a) == std::bit_cast<std::uint32_t>(b); }

std::span<const float> values_of(const ParameterLayout& layout, const at::Tensor& flat) {
  check(flat.scalar_type() == at::kFloat && flat.numel() == layout.total && flat.is_contiguous(),
        "a comparison is over whole flat fp32 vectors");
  return {flat.const_data_ptr<float>(), static_cast<std::size_t>(flat.numel())};
}

std::string both(const std::string& what, double recorded, double replayed) {
  return what + ": recorded " + shortest(recorded) + ", replayed " + shortest(replayed);
}

bool same_bits(double a, double b) {
  return std::bit_cast<std::uint64_t>(a) == std::bit_cast<std::uint64_t>(b) || (std::isnan(a) && std::isnan(b));
}

}  // namespace

std::string element_name(const ParameterSpec& spec, std::int64_t index) {
  std::string place;
  for (auto size = spec.shape.rbegin(); size != spec.shape.rend(); ++size) {
    place = std::to_string(index % *size) + (place.empty() ? "" : ", ") + place;
    index /= *size;
  }
  return spec.name + "[" + place + "]";
}

std::optional<std::string> first_difference(const ParameterLayout& layout, const at::Tensor& recorded, const at::Tensor& replayed) {
  const std::span<const float> a = values_of(layout, recorded);
  const std::span<const float> b = values_of(layout, replayed);
  for (const ParameterSpec& spec : layout.tensors) {
    for (std::int64_t i = 0; i < spec.numel; ++i) {
      const auto at = static_cast<std::size_t>(spec.offset + i);
      if (!same_bits(a[at], b[at])) return both(element_name(spec, i), static_cast<double>(a[at]), static_cast<double>(b[at]));
    }
  }
  return std::nullopt;
}

std::optional<std::string> first_difference(const ParameterLayout& layout, const LearnerState& recorded,
                                            const LearnerState& replayed) {
  if (auto weight = first_difference(layout, recorded.master, replayed.master)) return weight;
  if (const auto moment = first_difference(layout, recorded.exp_avg, replayed.exp_avg)) return "first moment of " + *moment;
  if (const auto moment = first_difference(layout, recorded.exp_avg_sq, replayed.exp_avg_sq)) return "second moment of " + *moment;
  if (recorded.critic.master.defined() && !recorded.critic.master.equal(replayed.critic.master)) return "weights of the critic";
  if (recorded.updates == replayed.updates) return std::nullopt;
  return both("updates", static_cast<double>(recorded.updates), static_cast<double>(replayed.updates));
}

std::optional<std::string> first_difference(const ParameterLayout& layout, const StepTrained& recorded,
                                            const StepTrained& replayed) {
  if (!same_bits(recorded.loss, replayed.loss)) return both("loss", recorded.loss, replayed.loss);
  if (!same_bits(recorded.grad_norm, replayed.grad_norm)) return both("gradient norm", recorded.grad_norm, replayed.grad_norm);
  if (recorded.weights_hash.empty() || recorded.weights_hash == replayed.weights_hash) return std::nullopt;
  std::string what = "weights: recorded hash " + recorded.weights_hash + ", replayed " + replayed.weights_hash;
  for (std::size_t i = 0; i < std::min(recorded.tensor_hashes.size(), replayed.tensor_hashes.size()); ++i) {
    if (recorded.tensor_hashes[i] != replayed.tensor_hashes[i]) return what + "; first in tensor " + layout.tensors.at(i).name;
  }
  return what + "; no tensor's own hash differs: the ledger contradicts itself";
}

std::string describe_change(const ParameterLayout& layout, const at::Tensor& before, const at::Tensor& after) {
  const std::span<const float> a = values_of(layout, before);
  const std::span<const float> b = values_of(layout, after);
  std::int64_t elements = 0;
  std::int64_t tensors = 0;
  double most = -1;
  std::string where;
  for (const ParameterSpec& spec : layout.tensors) {
    std::int64_t changed = 0;
    for (std::int64_t i = 0; i < spec.numel; ++i) {
      const auto at = static_cast<std::size_t>(spec.offset + i);
      if (same_bits(a[at], b[at])) continue;
      ++changed;
      const double size = std::abs(static_cast<double>(b[at]) - static_cast<double>(a[at]));
      if (size <= most) continue;
      most = size;
      where = element_name(spec, i) + ": " + shortest(static_cast<double>(a[at])) + " -> " + shortest(static_cast<double>(b[at]));
    }
    elements += changed;
    tensors += changed > 0 ? 1 : 0;
  }
  if (elements == 0) return "the same bits";
  return std::to_string(elements) + " elements in " + std::to_string(tensors) + " of " + std::to_string(layout.tensors.size()) +
         " tensors; most in " + where;
}

}  // namespace troupe
