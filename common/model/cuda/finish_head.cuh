#pragma once

#include "common/model/cuda/elements.cuh"
#include "common/model/cuda/forward_kernels.h"

namespace troupe::cuda {

/// finish_qkv for one head of a row (q heads, then k heads, then v heads), by one warp; lane i has the pairs
/// (i + 32 j, i + 32 j + head_size / 2).
__device__ __forceinline__ void finish_head(const QkvRows& r, std::int64_t row, int head, int lane) {
  const int all = r.heads + 2 * r.kv_heads, turned = r.heads + r.kv_heads, half = r.head_size / 2;
  Bf16* const x = r.qkv + (row * all + head) * r.head_size;
  const Bf16* const bias = r.bias == nullptr ? nullptr : r.bias + head * r.head_size;
  const bool turn = head < turned;
  const Bf16* const norm = r.q_norm == nullptr || !turn ? nullptr : head < r.heads ? r.q_norm : r.k_norm;
  const std::int32_t slot = r.slots == nullptr ? -1 : r.slots[row];
  Bf16* cache = nullptr;
  if (head >= r.heads && slot >= 0 && r.keys != nullptr) {
    const int kv_head = (head - r.heads) % r.kv_heads;
    Bf16* const base = turn ? r.keys : r.values;
    cache = base + ((static_cast<std::int64_t>(slot / kPageTokens) * r.kv_heads + kv_head) * kPageTokens + slot % kPageTokens) * r.head_size;
  }
  float inverse = 1.0F;
  if (norm != nullptr) {
    float squares = 0;
    for (int i = lane; i < r.head_size; i += 32) {
      const float value = to_float(x[i]);
      squares += value * value;
      if (r.unnormed != nullptr) r.unnormed[(row * turned + head) * r.head_size + i] = x[i];
    }
    inverse = 1.0F / sqrtf(sum_of_warp(squares) / static_cast<float>(r.head_size) + r.eps);
  }
  const float* const cosines = turn ? r.rope + static_cast<std::int64_t>(r.positions[row]) * r.head_size : nullptr;
  for (int i = lane; i < half; i += 32) {
    float a = to_float(x[i]), b = to_float(x[i + half]);
    if (norm != nullptr) {
      a = to_float(to_bf16(a * inverse * to_float(norm[i])));
      b = to_float(to_bf16(b * inverse * to_float(norm[i + half])));
    }
    if (bias != nullptr) {
      a = to_float(to_bf16(a + to_float(bias[i])));
      b = to_float(to_bf16(b + to_float(bias[i + half])));
    }
    if (turn) {
      const float c = cosines[i], s = cosines[half + i], turned_a = a * c - b * s;
      b = b * c + a * s;
      a = turned_a;
    }
    const Bf16 low = to_bf16(a), high = to_bf16(b);
    x[i] = low;
    x[i + half] = high;
    if (cache != nullptr) {
      cache[i] = low;
      cache[i + half] = high;
    }
  }
}

}  // namespace troupe::cuda
