#pragma once

#include <cstdint>
#include <vector>

#include "common/model/parameters.h"

namespace troupe {

/// Where the model's matrices begin in a flat buffer laid out as ParameterLayout: elements from its start.
struct ModelOffsets {
  struct Block {
    std::int64_t attention_norm, qkv;
    std::int64_t qkv_bias, q_norm, k_norm;  // -1 where there is none
    std::int64_t output, mlp_norm, gate_up, down;
  };
  ModelOffsets(const ParameterLayout& layout, const Architecture& architecture);

  std::int64_t embedding = 0, final_norm = 0, head = 0;
  std::vector<Block> blocks;
};

}  // namespace troupe
