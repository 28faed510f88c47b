#pragma once

#include <cstdint>

#include <c10/core/ScalarType.h>

// The matrix products of the model, on raw row-major memory, through ATen's GEMM. T: float or Bf16.

namespace troupe {

/// A row of `multiply` has the same bits for every row count from kMinRows to kMaxRows (measured; `rows_are_exact` probes
/// it). Callers pad to kMinRows and cut into chunks of at most kMaxRows.
inline constexpr std::int64_t kMinRows = 16;
inline constexpr std::int64_t kMaxRows = 512;

/// out[rows, n] = x[rows, k] · w[n, k]ᵀ.
template <typename T>
void multiply(const T* x, const T* w, T* out, std::int64_t rows, std::int64_t n, std::int64_t k);

/// out[rows, k] = g[rows, n] · w[n, k]: the gradient of `multiply`'s x.
template <typename T>
void multiply_back(const T* g, const T* w, T* out, std::int64_t rows, std::int64_t n, std::int64_t k);

/// grad[n, k] += g[rows, n]ᵀ · x[rows, k], in fp32: the gradient of `multiply`'s w.
template <typename T>
void add_weight_gradient(const T* g, const T* x, float* grad, std::int64_t rows, std::int64_t n, std::int64_t k);

/// Rows cut into equal chunks of at most kMaxRows.
struct RowChunks {
  std::int64_t rows;
  std::int64_t count;
  explicit RowChunks(std::int64_t total, std::int64_t limit = kMaxRows)
      : rows(total), count((total + limit - 1) / limit) {}
  std::int64_t begin(std::int64_t chunk) const { return rows * chunk / count; }
  std::int64_t largest() const { return count == 0 ? 0 : (rows + count - 1) / count; }
};

/// Rows that the GEMM of `rows` rows is run with.
inline std::int64_t padded_rows(std::int64_t rows) { return rows < kMinRows ? kMinRows : rows; }

/// Whether on this machine, with this library and thread count, rows of `multiply` for a [n, k] matrix have the same bits
/// at every row count tried between kMinRows and kMaxRows. Milliseconds.
bool rows_are_exact(std::int64_t n, std::int64_t k, c10::ScalarType dtype);

}  // namespace troupe
