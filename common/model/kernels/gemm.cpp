#include "common/model/kernels/gemm.h"

#include <cstring>

#include <ATen/Functions.h>
#include <ATen/ops/addmm_cpu_dispatch.h>
#include <ATen/ops/mm_cpu_dispatch.h>

#include "common/model/kernels/kernels.h"

namespace troupe {
namespace {

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

}  // namespace

template <typename T>
void multiply(const T* x, const T* w, T* out, std::int64_t rows, std::int64_t n, std::int64_t k) {
  at::Tensor result = matrix(out, rows, n);
  at::cpu::mm_out(result, matrix(x, rows, k), matrix(w, n, k, true));
}
template void multiply(const float*, const float*, float*, std::int64_t, std::int64_t, std::int64_t);
template void multiply(const Bf16*, const Bf16*, Bf16*, std::int64_t, std::int64_t, std::int64_t);

template <typename T>
void multiply_back(const T* g, const T* w, T* out, std::int64_t rows, std::int64_t n, std::int64_t k) {
  at::Tensor result = matrix(out, rows, k);
  at::cpu::mm_out(result, matrix(g, rows, n), matrix(w, n, k));
}
template void multiply_back(const float*, const float*, float*, std::int64_t, std::int64_t, std::int64_t);
template void multiply_back(const Bf16*, const Bf16*, Bf16*, std::int64_t, std::int64_t,
                            std::int64_t);

template <>
void add_weight_gradient(const float* g, const float* x, float* grad, std::int64_t rows, std::int64_t n, std::int64_t k) {
  at::Tensor result = matrix(grad, n, k);
  at::cpu::addmm_out(result, result, matrix(g, rows, n, true), matrix(x, rows, k));
}

template <>
void add_weight_gradient(const Bf16* g, const Bf16* x, float* grad, std::int64_t rows, std::int64_t n,
                         std::int64_t k) {
  at::Tensor product = at::cpu::mm(matrix(g, rows, n, true), matrix(x, rows, k));
  kernels<Bf16>().add_rows(static_cast<const Bf16*>(product.const_data_ptr()), 1, n * k, grad);
}

bool rows_are_exact(std::int64_t n, std::int64_t k, at::ScalarType dtype) {
  // A fixed pattern without structure: Knuth's multiplicative hash of the index.
  const auto fill = [](std::int64_t rows, std::int64_t columns) {
    at::Tensor values = at::empty({rows, columns}, at::kFloat);
    float* data = values.mutable_data_ptr<float>();
    for (std::int64_t i = 0; i < values.numel(); ++i) {
      data[i] = static_cast<float>(static_cast<std::uint32_t>(i + 1) * 2654435761u >> 8) / 8388608.0f - 1.0f;
    }
    return values;
  };
  const at::Tensor x = fill(kMaxRows, k).to(dtype), w_t = fill(n, k).to(dtype).t();
  const at::Tensor whole = at::mm(x, w_t);
  for (const std::int64_t rows : {16, 17, 23, 32, 48, 61, 64, 100, 128, 200, 256, 333, 448, 511}) {
    if (!at::mm(x.narrow(0, kMaxRows - rows, rows), w_t).equal(whole.narrow(0, kMaxRows - rows, rows))) return false;
  }
  return true;
}

}  // namespace troupe
