#pragma once

#include "common/model/cuda/elements.cuh"
#include "common/model/cuda/forward_kernels.h"

// What finish_qkv does to a head (q heads first, then k heads, then v heads), for the kernels that do it.

namespace troupe::cuda {

/// Elements i and i + head_size / 2 of a head.
struct HeadPair {
  float low = 0, high = 0;
};

/// Where a head's weights and its place in the cache are; null where it has none.
struct HeadPlaces {
  const Bf16* bias;
  const Bf16* norm;
  Bf16* cache;
  bool turns;
};

__device__ __forceinline__ HeadPlaces places_of(const QkvRows& r, std::int64_t row, int head) {
  HeadPlaces places{};
  places.turns = head < r.heads + r.kv_heads;
  places.bias = r.bias == nullptr ? nullptr : r.bias + head * r.head_size;
  places.norm = r.q_norm == nullptr || !places.turns ? nullptr : head < r.heads ? r.q_norm : r.k_norm;
  const std::int32_t slot = r.slots == nullptr ? -1 : r.slots[row];
  if (head >= r.heads && slot >= 0 && r.keys != nullptr) {
    const std::int64_t kv_head = (head - r.heads) % r.kv_heads;
    places.cache = (places.turns ? r.keys : r.values) +
                   ((static_cast<std::int64_t>(slot / kPageTokens) * r.kv_heads + kv_head) * kPageTokens + slot % kPageTokens) * r.head_size;
  }
  return places;
}

/// 1 / the root mean square of a head, of which a lane's share of the squares is given.
__device__ __forceinline__ float inverse_rms_of(float squares, const QkvRows& r) {
  return 1.0F / sqrtf(sum_of_warp(squares) / static_cast<float>(r.head_size) + r.eps);
}

__device__ __forceinline__ HeadPair finished(HeadPair x, int i, int half, const HeadPlaces& places, float inverse, float cosine, float sine) {
  const auto rounded = [](float value) { return to_float(to_bf16(value)); };
  if (places.norm != nullptr) {
    x.low = rounded(x.low * inverse * to_float(places.norm[i]));
    x.high = rounded(x.high * inverse * to_float(places.norm[i + half]));
  }
  if (places.bias != nullptr) {
    x.low = rounded(x.low + to_float(places.bias[i]));
    x.high = rounded(x.high + to_float(places.bias[i + half]));
  }
  if (!places.turns) return x;
  return {__fmaf_rn(x.low, cosine, -__fmul_rn(x.high, sine)), __fmaf_rn(x.high, cosine, __fmul_rn(x.low, sine))};
}

}  // namespace troupe::cuda
