#include "common/model/kernels/gemm.h"

#include <algorithm>

#include <ATen/Functions.h>
#include <ATen/Parallel.h>
#include <ATen/ops/addmm_cpu_dispatch.h>
#include <ATen/ops/mm_cpu_dispatch.h>

#include "common/model/kernels/bf16_tiles.h"
#include "common/model/kernels/kernels.h"

namespace troupe {
namespace {

constexpr std::int64_t kLeastExactRows = 16;  // of ATen's bf16 products

template <typename T>
constexpr c10::ScalarType kScalarType = c10::kFloat;
template <>
constexpr c10::ScalarType kScalarType<Bf16> = c10::kBFloat16;

/// A [rows, columns] matrix over row-major memory, or its transpose. Operands that came in as const are only read.
template <typename T>
at::Tensor matrix(const T* data, std::int64_t rows, std::int64_t columns, bool transposed = false) {
  const std::int64_t sizes[2] = {transposed ? columns : rows, transposed ? rows : columns};
  const std::int64_t strides[2] = {transposed ? 1 : columns, transposed ? columns : 1};
  return at::from_blob(const_cast<T*>(data), sizes, strides, at::TensorOptions(kScalarType<T>));
}

std::int64_t panels_of(std::int64_t columns) {
  return (columns + matrix_kernels().panel_columns - 1) / matrix_kernels().panel_columns;
}

/// A packed copy of right[inner, columns], or of the transpose of w[columns, inner].
at::Tensor packed(const float* w, std::int64_t inner, std::int64_t columns, bool transposed) {
  at::Tensor panels = at::empty({packed_size(columns, inner)}, at::kFloat);
  float* to = panels.mutable_data_ptr<float>();
  const auto pack = transposed ? matrix_kernels().pack_transposed : matrix_kernels().pack;
  at::parallel_for(0, panels_of(columns), 4, [&](std::int64_t first, std::int64_t last) {
    pack(w, columns, inner, first, last, to);
  });
  return panels;
}

/// Blocks of rows that stay in the second-level cache while all panels pass by; few rows are shared out by panels.
void multiply_packed(const MatrixProduct& product, std::int64_t rows) {
  const MatrixKernels& kernels = matrix_kernels();
  const std::int64_t block = 16 * kernels.tile_rows, blocks = (rows + block - 1) / block, panels = panels_of(product.n);
  constexpr std::int64_t kOperationsWorthAThread = 1 << 18;
  const std::int64_t operations = std::min(rows, block) * product.k * kernels.panel_columns;
  at::parallel_for(0, blocks * panels, 1 + kOperationsWorthAThread / operations, [&](std::int64_t begin, std::int64_t end) {
    while (begin < end) {
      const std::int64_t row = begin / panels * block, panel = begin % panels;
      const std::int64_t last = std::min(panels, panel + end - begin);
      kernels.multiply(product, row, std::min(rows, row + block), panel, last);
      begin += last - panel;
    }
  });
}

}  // namespace

template <typename T>
RightOperand<T> RightOperand<T>::transposed(const T* w, std::int64_t n, std::int64_t k) {
  RightOperand operand;
  operand.w_ = w;
  operand.inner_ = k;
  operand.columns_ = n;
  operand.transposed_ = true;
  if constexpr (std::is_same_v<T, float>) {
    operand.panels_ = packed(w, k, n, true);
  } else if (bf16_tiles_serve()) {
    operand.panels_ = pack_bf16_tiles_transposed(w, n, k);
  }
  return operand;
}

template <typename T>
RightOperand<T> RightOperand<T>::plain(const T* w, std::int64_t n, std::int64_t k) {
  RightOperand operand;
  operand.w_ = w;
  operand.inner_ = n;
  operand.columns_ = k;
  if constexpr (std::is_same_v<T, float>) {
    operand.panels_ = packed(w, n, k, false);
  } else if (bf16_tiles_serve()) {
    operand.panels_ = pack_bf16_tiles(w, n, k);
  }
  return operand;
}

template <>
void RightOperand<float>::multiply(const float* x, std::int64_t rows, float* out) const {
  multiply_packed({x, inner_, panels_.const_data_ptr<float>(), out, columns_, inner_}, rows);
}

template <>
void RightOperand<float>::multiply_to_float(const float* x, std::int64_t rows, float* out) const {
  multiply(x, rows, out);
}

template <>
void RightOperand<Bf16>::multiply(const Bf16* x, std::int64_t rows, Bf16* out) const {
  if (panels_.defined()) {
    multiply_bf16_tiles(x, panels_, rows, inner_, columns_, out);
    return;
  }
  const at::Tensor right = transposed_ ? matrix(w_, columns_, inner_, true) : matrix(w_, inner_, columns_);
  at::Tensor result = matrix(out, rows, columns_);
  if (rows >= kLeastExactRows) {
    at::cpu::mm_out(result, matrix(x, rows, inner_), right);
    return;
  }
  at::Tensor padded = at::zeros({kLeastExactRows, inner_}, at::kBFloat16);
  padded.narrow(0, 0, rows).copy_(matrix(x, rows, inner_));
  result.copy_(at::cpu::mm(padded, right).narrow(0, 0, rows));
}

template <>
void RightOperand<Bf16>::multiply_to_float(const Bf16* x, std::int64_t rows, float* out) const {
  if (panels_.defined()) {
    multiply_bf16_tiles(x, panels_, rows, inner_, columns_, out);
    return;
  }
  const at::Tensor rounded = at::empty({rows, columns_}, at::kBFloat16);
  multiply(x, rows, static_cast<Bf16*>(rounded.data_ptr()));
  kernels<Bf16>().to_float(static_cast<const Bf16*>(rounded.const_data_ptr()), rows * columns_, out);
}

template class RightOperand<float>;
template class RightOperand<Bf16>;

template <>
void add_weight_gradient(const float* g, const float* x, float* grad, std::int64_t rows, std::int64_t n, std::int64_t k) {
  at::Tensor result = matrix(grad, n, k);
  at::cpu::addmm_out(result, result, matrix(g, rows, n, true), matrix(x, rows, k));
}

template <>
void add_weight_gradient(const Bf16* g, const Bf16* x, float* grad, std::int64_t rows, std::int64_t n, std::int64_t k) {
  if (bf16_tiles_serve()) return add_bf16_tiles(g, x, n, rows, k, grad);
  const at::Tensor product = at::cpu::mm(matrix(g, rows, n, true), matrix(x, rows, k));
  kernels<Bf16>().add_rows(static_cast<const Bf16*>(product.const_data_ptr()), 1, n * k, grad);
}

bool rows_are_exact(std::int64_t n, std::int64_t k, at::ScalarType dtype) {
  const auto exact = [&]<typename T>(T*) {
    // A fixed pattern without structure: Knuth's multiplicative hash of the index.
    const auto fill = [&](std::int64_t rows, std::int64_t columns) {
      at::Tensor values = at::empty({rows, columns}, at::kFloat);
      float* data = values.mutable_data_ptr<float>();
      for (std::int64_t i = 0; i < values.numel(); ++i) {
        data[i] = static_cast<float>(static_cast<std::uint32_t>(i + 1) * 2654435761u >> 8) / 8388608.0f - 1.0f;
      }
      return values.to(dtype);
    };
    const at::Tensor x = fill(kMaxRows, k), w = fill(n, k), whole = at::empty({kMaxRows, n}, dtype);
    const auto right = RightOperand<T>::transposed(static_cast<const T*>(w.const_data_ptr()), n, k);
    const auto multiply = [&](std::int64_t rows, const at::Tensor& out) {
      const at::Tensor last = x.narrow(0, kMaxRows - rows, rows);
      right.multiply(static_cast<const T*>(last.const_data_ptr()), rows, static_cast<T*>(out.data_ptr()));
    };
    multiply(kMaxRows, whole);
    for (const std::int64_t rows : {1, 2, 7, 15, 16, 17, 23, 32, 48, 61, 64, 100, 128, 200, 256, 333, 448, 511}) {
      const at::Tensor part = at::empty({rows, n}, dtype);
      multiply(rows, part);
      if (!part.equal(whole.narrow(0, kMaxRows - rows, rows))) return false;
    }
    return true;
  };
  return dtype == at::kFloat ? exact(static_cast<float*>(nullptr)) : exact(static_cast<Bf16*>(nullptr));
}

}  // namespace troupe
