#pragma once

#include <cstdint>

#include <cuda_runtime_api.h>

namespace troupe::cuda {

/// What a row is left with before it is drawn from; these values leave all.
struct Truncation {
  double top_p = 1.0;
  float min_p = 0.0F;
  std::int32_t top_k = 0;
};

/// Rows of logits and how each is drawn from. All pointers are to memory of the GPU.
struct DrawRows {
  const float* logits;  // [rows, vocabulary]
  std::int64_t rows;
  std::int64_t vocabulary;
  const float* temperatures;  // of each row; 0: the highest logit
  const double* uniforms;     // of each row, in [0, 1)
  const Truncation* truncations;  // of each row; null where none is truncated
  float* partials;            // draw_partials(rows, vocabulary) floats
  std::int32_t* ids;          // of the token drawn from each row; -1 where a logit is not finite
  float* logprobs;            // its natural log-probability
};

std::int64_t draw_partials(std::int64_t rows, std::int64_t vocabulary);

/// Draws a token from each row's softmax(logits / temperature): the first, in id order, whose cumulative probability exceeds the
/// row's uniform number; at temperature 0 the first of the highest. A row's result depends on that row alone; its log-probability has
/// the bits that token_logprobs gives the learner on a GPU. Of a truncated row it is that of what is left (actors/sampler.h).
void draw_tokens(const DrawRows& rows, cudaStream_t stream);

/// The rows that draw_tokens leaves to it, behind its partial sums.
void draw_truncated(const DrawRows& rows, cudaStream_t stream);

#ifdef __CUDACC__
__device__ __forceinline__ bool is_truncated(const DrawRows& r, std::int64_t row) {
  if (r.truncations == nullptr || r.temperatures[row] == 0.0F) return false;
  const Truncation& t = r.truncations[row];
  return t.top_k > 0 || t.top_p < 1.0 || t.min_p > 0.0F;
}
#endif

/// ids[row] = drawn[-1 - ids[row]] where it is negative.
void take_drawn(std::int64_t* ids, std::int64_t rows, const std::int32_t* drawn, cudaStream_t stream);

}  // namespace troupe::cuda
