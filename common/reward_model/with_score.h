#pragma once

#include <cstdint>

#include "common/model/parameters.h"

namespace troupe {

/// A language model's tensors, and in its head's place score.weight ~ N(0, 1 / (hidden + 1)) (Stiennon et al. 2020, appendix B), a
/// function of `seed`. fp32.
Parameters with_score(const Parameters& language_model, std::uint64_t seed);

}  // namespace troupe
