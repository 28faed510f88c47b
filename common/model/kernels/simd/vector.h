#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#if defined(__AVX2__)
#include <immintrin.h>
#endif

#include "common/model/kernels/kernels.h"

// Sixteen float lanes as a compiler vector type. Included by the files of this folder only, which are compiled once for each
// instruction set into a namespace TROUPE_ISA of their own; hence no templates of the standard library here.

namespace troupe::TROUPE_ISA {

typedef float V16 __attribute__((vector_size(64)));
typedef std::int32_t I16 __attribute__((vector_size(64)));
typedef std::uint32_t U16 __attribute__((vector_size(64)));
typedef std::uint16_t H16 __attribute__((vector_size(32)));

#define TROUPE_INLINE inline __attribute__((always_inline))

template <typename To, typename From>
TROUPE_INLINE To bits_as(From from) {
  static_assert(sizeof(To) == sizeof(From));
  To to;
  std::memcpy(&to, &from, sizeof(to));
  return to;
}

TROUPE_INLINE V16 all(float x) { return V16{x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x}; }

/// a * b + c, rounded once where the instruction set can (and then always).
TROUPE_INLINE V16 fma(V16 a, V16 b, V16 c) {
#if defined(__AVX512F__)
  return _mm512_fmadd_ps(a, b, c);
#elif defined(__FMA__)
  struct Halves {
    __m256 low, high;
  };
  const auto x = bits_as<Halves>(a), y = bits_as<Halves>(b), z = bits_as<Halves>(c);
  return bits_as<V16>(Halves{_mm256_fmadd_ps(x.low, y.low, z.low), _mm256_fmadd_ps(x.high, y.high, z.high)});
#else
  return a * b + c;
#endif
}

TROUPE_INLINE V16 load(const float* from) {
  V16 v;
  std::memcpy(&v, from, sizeof(v));
  return v;
}

TROUPE_INLINE V16 load(const Bf16* from) {
  H16 h;
  std::memcpy(&h, from, sizeof(h));
  return bits_as<V16>(__builtin_convertvector(h, U16) << 16);
}

TROUPE_INLINE void store(float* to, V16 v) { std::memcpy(to, &v, sizeof(v)); }

/// Rounds to nearest, ties to even; a NaN stays one.
TROUPE_INLINE void store(Bf16* to, V16 v) {
  const U16 bits = bits_as<U16>(v);
  const U16 rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
  const H16 h = __builtin_convertvector(v == v ? rounded : U16{} + 0x7fc0u, H16);
  std::memcpy(to, &h, sizeof(h));
}

/// The first min(left, 16) lanes from memory, the others `fill`.
template <typename T>
TROUPE_INLINE V16 load_upto(const T* from, std::int64_t left, float fill = 0.0f) {
  if (left >= 16) return load(from);
  T buffer[16] = {};
  for (std::int64_t i = 0; i < left; ++i) buffer[i] = from[i];
  V16 v = load(buffer);
  for (std::int64_t i = left; i < 16; ++i) v[i] = fill;
  return v;
}

template <typename T>
TROUPE_INLINE void store_upto(T* to, V16 v, std::int64_t left) {
  if (left >= 16) return store(to, v);
  T buffer[16];
  store(buffer, v);
  for (std::int64_t i = 0; i < left; ++i) to[i] = buffer[i];
}

/// Lane 0 + lane 8, and so on: a fixed tree.
TROUPE_INLINE float sum_lanes(V16 v) {
  float lane[16];
  std::memcpy(lane, &v, sizeof(lane));
  for (int half = 8; half > 0; half /= 2) {
    for (int i = 0; i < half; ++i) lane[i] += lane[i + half];
  }
  return lane[0];
}

TROUPE_INLINE V16 larger(V16 a, V16 b) { return a > b ? a : b; }

/// NaN lanes lose against any number.
TROUPE_INLINE float max_lanes(V16 v) {
  float lane[16];
  std::memcpy(lane, &v, sizeof(lane));
  for (int half = 8; half > 0; half /= 2) {
    for (int i = 0; i < half; ++i) lane[i] = lane[i] > lane[i + half] ? lane[i] : lane[i + half];
  }
  return lane[0];
}

/// exp(x) within 2 units in the last place; 0 below the normal range, finite above it, NaN for NaN. Polynomial: Cephes expf.
TROUPE_INLINE V16 exp(V16 x) {
  const V16 low = all(-87.33f);
  const V16 in_range = x < low ? low : (x > all(88.37f) ? all(88.37f) : x);
  const V16 magic = all(12582912.0f);  // 1.5 * 2^23: adding it rounds to an integer
  const V16 shifted = fma(in_range, all(1.44269504088896341f), magic);
  const V16 n = shifted - magic;
  V16 r = fma(n, all(-0.693359375f), in_range);
  r = fma(n, all(2.12194440e-4f), r);
  V16 p = all(1.9875691500e-4f);
  p = fma(p, r, all(1.3981999507e-3f));
  p = fma(p, r, all(8.3334519073e-3f));
  p = fma(p, r, all(4.1665795894e-2f));
  p = fma(p, r, all(1.6666665459e-1f));
  p = fma(p, r, all(5.0000001201e-1f));
  p = fma(p, r * r, r) + 1.0f;
  const I16 exponent = (bits_as<I16>(shifted) - bits_as<I16>(magic) + 127) << 23;
  const V16 y = p * bits_as<V16>(exponent);
  return x < low ? V16{} : y;
}

/// Sixteen rows of sixteen words.
struct Square {
  U16 row[16];
};

/// The lanes of `a` and `b` whose number has bit Distance off (Upper: on), those of `b` behind those of `a` in each group.
template <int Distance, bool Upper>
TROUPE_INLINE U16 exchanged(U16 a, U16 b) {
  constexpr auto lane = [](int i) { return ((i & Distance) == 0 ? i : 16 + i - Distance) + (Upper ? Distance : 0); };
  return __builtin_shufflevector(a, b, lane(0), lane(1), lane(2), lane(3), lane(4), lane(5), lane(6), lane(7), lane(8), lane(9), lane(10),
                                 lane(11), lane(12), lane(13), lane(14), lane(15));
}

/// Exchanges the squares of Distance words off the diagonal in every square of twice that.
template <int Distance>
TROUPE_INLINE void exchange(Square& words) {
  for (int i = 0; i < 16; ++i) {
    if ((i & Distance) != 0) continue;
    const U16 upper = words.row[i], lower = words.row[i + Distance];
    words.row[i] = exchanged<Distance, false>(upper, lower);
    words.row[i + Distance] = exchanged<Distance, true>(upper, lower);
  }
}

TROUPE_INLINE Square transposed(Square words) {
  exchange<8>(words);
  exchange<4>(words);
  exchange<2>(words);
  exchange<1>(words);
  return words;
}

}  // namespace troupe::TROUPE_ISA
