#include "common/reward_model/with_score.h"

#include <ATen/ATen.h>

#include <cmath>

#include "common/base/random.h"

namespace troupe {

Parameters with_score(const Parameters& language_model, std::uint64_t seed) {
  Architecture architecture = language_model.architecture();
  architecture.scores = true;
  Parameters made(architecture, at::kFloat);
  for (const ParameterSpec& spec : made.layout().tensors) {
    if (spec.name != "score.weight") made[spec.name].copy_(language_model[spec.name]);
  }
  const double deviation = 1.0 / std::sqrt(static_cast<double>(architecture.hidden) + 1.0);
  at::Tensor score = made["score.weight"];
  float* const out = score.mutable_data_ptr<float>();
  for (std::int64_t i = 0; i < score.numel(); ++i)
    out[i] = static_cast<float>(deviation * normal_at(seed, static_cast<std::uint64_t>(i)));
  return made;
}

}  // namespace troupe
