#pragma once

#include <cstdint>
#include <vector>

#include "common/model/kernels/gemm.h"
#include "common/model/kernels/kernels.h"
#include "common/model/model_offsets.h"

namespace troupe {

/// The matrices of the forward pass, packed for its kernels.
template <typename T>
struct PackedWeights {
  struct Block {
    RightOperand<T> qkv, output, gate_up, down;
  };
  PackedWeights(const Parameters& parameters, const ModelOffsets& offsets);

  std::vector<Block> blocks;
  RightOperand<T> head;  // of a language model
};

}  // namespace troupe
