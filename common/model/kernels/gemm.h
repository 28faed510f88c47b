#pragma once

#include <cstdint>

#include <ATen/core/Tensor.h>

// The matrix products of the model, on raw row-major memory. T: float or Bf16.
// fp32 goes through our own kernels, whose rows are exact whatever the row count. bf16 goes through oneDNN: its micro-kernels
// on packed weights where the CPU has matrix tiles (AMX), else ATen's GEMM, whose rows have the same bits for every row count
// from 16 to kMaxRows (measured; `rows_are_exact` probes it): fewer rows are padded there, and callers cut into chunks of at
// most kMaxRows.

namespace troupe {

inline constexpr std::int64_t kMaxRows = 512;

/// A weight matrix w[n, k] made ready to be multiplied with from the right: a packed copy, or where there is no use for one,
/// a reference to w.
template <typename T>
class RightOperand {
 public:
  RightOperand() = default;
  /// wᵀ: takes rows of k to rows of n.
  static RightOperand transposed(const T* w, std::int64_t n, std::int64_t k);
  /// w itself: takes rows of n to rows of k (the gradient of the former's argument).
  static RightOperand plain(const T* w, std::int64_t n, std::int64_t k);

  /// out[rows, columns] = x[rows, inner] · this.
  void multiply(const T* x, std::int64_t rows, T* out) const;
  /// The same in fp32, which only AMX gives without rounding to T first.
  void multiply_to_float(const T* x, std::int64_t rows, float* out) const;

 private:
  const T* w_ = nullptr;
  std::int64_t inner_ = 0, columns_ = 0;
  bool transposed_ = false;
  at::Tensor panels_;
};

/// grad[n, k] += g[rows, n]ᵀ · x[rows, k], in fp32.
template <typename T>
void add_weight_gradient(const T* g, const T* x, float* grad, std::int64_t rows, std::int64_t n, std::int64_t k);

/// Rows cut into equal chunks of at most kMaxRows.
struct RowChunks {
  std::int64_t rows;
  std::int64_t count;
  explicit RowChunks(std::int64_t total) : rows(total), count((total + kMaxRows - 1) / kMaxRows) {}
  std::int64_t begin(std::int64_t chunk) const { return rows * chunk / count; }
  std::int64_t largest() const { return count == 0 ? 0 : (rows + count - 1) / count; }
};

/// Whether on this machine, with this library and thread count, rows of a product with wᵀ, w[n, k], have the same bits at
/// every row count tried up to kMaxRows. Milliseconds.
bool rows_are_exact(std::int64_t n, std::int64_t k, at::ScalarType dtype);

}  // namespace troupe
