#include <ATen/ATen.h>
#include <doctest/doctest.h>

#include "common/model/kernels/bf16_tiles.h"
#include "common/model/kernels/gemm.h"

using namespace troupe;

namespace {

template <typename T>
T* data(const at::Tensor& tensor) {
  return static_cast<T*>(tensor.data_ptr());
}

/// The largest difference between the operand's product and ATen's in float64.
template <typename T>
double worst(const RightOperand<T>& right, const at::Tensor& x, const at::Tensor& expected) {
  at::Tensor out = at::empty({x.size(0), expected.size(1)}, at::kFloat);
  right.multiply_to_float(data<T>(x), x.size(0), data<float>(out));
  return (out.to(at::kDouble) - expected).abs().max().template item<double>();
}

}  // namespace

TEST_SUITE("model/gemm") {
  TEST_CASE("a packed matrix gives the product, from either layout and with sizes that fill no panel") {
    at::manual_seed(3);
    for (const auto& [n, k] : {std::pair{64, 64}, {70, 30}, {1, 2}, {200, 578}, {127, 66}, {16, 576}}) {
      CAPTURE(n);
      CAPTURE(k);
      const auto check_type = [&](auto* type, at::ScalarType dtype, double tolerance) {
        using T = std::remove_pointer_t<decltype(type)>;
        const at::Tensor x = at::randn({16, k}).to(dtype), w = at::randn({n, k}).to(dtype);
        const at::Tensor expected = x.to(at::kDouble).matmul(w.to(at::kDouble).t());
        CHECK(worst(RightOperand<T>::transposed(data<T>(w), n, k), x, expected) < tolerance);
        const at::Tensor right = w.t().contiguous();
        CHECK(worst(RightOperand<T>::plain(data<T>(right), k, n), x, expected) < tolerance);
      };
      check_type(static_cast<float*>(nullptr), at::kFloat, 1e-3);
      if (bf16_tiles_serve(k)) check_type(static_cast<Bf16*>(nullptr), at::kBFloat16, 1e-3);
    }
  }

  TEST_CASE("packing the transpose is packing of the transposed matrix") {
    if (!bf16_tiles_serve(2)) return;  // a CPU without matrix tiles
    for (const auto& [n, k] : {std::pair{64, 64}, {70, 30}, {1, 2}, {200, 578}, {130, 66}}) {
      const at::Tensor w = at::randn({n, k}).to(at::kBFloat16), right = w.t().contiguous();
      CHECK(pack_bf16_tiles_transposed(data<Bf16>(w), n, k).equal(pack_bf16_tiles(data<Bf16>(right), k, n)));
    }
  }
}
