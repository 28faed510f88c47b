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
  /// Of whole parameters.
  PackedWeights(const Parameters& parameters, const ModelOffsets& offsets);
  /// Of one block, given where its first matrix lies in memory. Refers to the matrices where it need not copy them.
  static Block block_of(const Architecture& architecture, const ModelOffsets::Block& block, const T* qkv);

  std::vector<Block> blocks;
  RightOperand<T> head;  // of a language model
};

}  // namespace troupe
