#pragma once

#include <cstdint>
#include <memory>

#include "actors/decoder.h"

namespace troupe {

/// On the GPU, with a cache of so many pages for up to `slots` sequences of up to `positions` tokens. The parameters are copied
/// there, rounded to bf16. `exact` as Transformer's. Steps in which every row continues a sequence run as CUDA graphs, one for each
/// of a few numbers of rows.
std::unique_ptr<Decoder> make_cuda_decoder(const Parameters& parameters, std::int64_t pages, std::int64_t slots, std::int64_t positions,
                                           bool exact);

/// The same by `ranks` that hold the model together (TensorDecoder), on the current GPU and those behind it, in turn where there are fewer;
/// so many pages on each, for its heads. @throws ConfigError where GPUs cannot read each other's memory.
std::unique_ptr<Decoder> make_cuda_tensor_decoder(const Parameters& whole, int ranks, std::int64_t pages, std::int64_t slots,
                                                  std::int64_t positions, bool exact);

/// Bytes of the GPU's memory that are free. @throws ConfigError where this build or machine has none.
double free_gpu_bytes();

/// Whether this build has CUDA and this machine a GPU.
bool gpu_is_there();

}  // namespace troupe
