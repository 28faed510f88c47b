#pragma once

#include <cstdint>

#include <cuda_runtime_api.h>

namespace troupe::cuda {

/// Rows of logits and how each is drawn from. All pointers are to memory of the GPU.
struct DrawRows {
  const float* logits;  // [rows, vocabulary]
  std::int64_t rows;
  std::int64_t vocabulary;
  const float* temperatures;  // of each row; 0: the highest logit
  const double* uniforms;     // of each row, in [0, 1)
  float* partials;            // draw_partials(rows, vocabulary) floats
  std::int32_t* ids;          // of the token drawn from each row; -1 where a logit is not finite
  float* logprobs;            // its natural log-probability
};

std::int64_t draw_partials(std::int64_t rows, std::int64_t vocabulary);

/// Draws a token from each row's softmax(logits / temperature): the first, in id order, whose cumulative probability exceeds the
/// row's uniform number; at temperature 0 the first of the highest. A row's result depends on that row alone; its log-probability has
/// the bits that token_logprobs gives the learner on a GPU.
void draw_tokens(const DrawRows& rows, cudaStream_t stream);

/// ids[row] = drawn[-1 - ids[row]] where it is negative.
void take_drawn(std::int64_t* ids, std::int64_t rows, const std::int32_t* drawn, cudaStream_t stream);

}  // namespace troupe::cuda
