#include <ATen/ATen.h>
#include <doctest/doctest.h>

#include <tuple>

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
  TEST_CASE("a packed matrix gives the product, from either layout and with sizes that fill no panel or tile") {
    at::manual_seed(3);
    for (const auto& [rows, n, k] : {std::tuple{16, 64, 64}, {16, 70, 30}, {16, 1, 2}, {1, 200, 578}, {5, 127, 66}, {17, 16, 576},
                                     {32, 33, 31}, {47, 96, 97}, {64, 31, 33}, {530, 130, 64}}) {
      CAPTURE(rows);
      CAPTURE(n);
      CAPTURE(k);
      const auto check_type = [&](auto* type, at::ScalarType dtype, double tolerance) {
        using T = std::remove_pointer_t<decltype(type)>;
        const at::Tensor x = at::randn({rows, k}).to(dtype), w = at::randn({n, k}).to(dtype);
        const at::Tensor expected = x.to(at::kDouble).matmul(w.to(at::kDouble).t());
        CHECK(worst(RightOperand<T>::transposed(data<T>(w), n, k), x, expected) < tolerance);
        const at::Tensor right = w.t().contiguous();
        CHECK(worst(RightOperand<T>::plain(data<T>(right), k, n), x, expected) < tolerance);
      };
      check_type(static_cast<float*>(nullptr), at::kFloat, 1e-3);
      if (bf16_tiles_serve()) check_type(static_cast<Bf16*>(nullptr), at::kBFloat16, 1e-3);
    }
  }

  TEST_CASE("packing the transpose is packing of the transposed matrix") {
    if (!bf16_tiles_serve()) return;  // a CPU without matrix tiles
    for (const auto& [n, k] : {std::pair{64, 64}, {70, 30}, {1, 2}, {200, 578}, {130, 66}, {33, 31}}) {
      const at::Tensor w = at::randn({n, k}).to(at::kBFloat16), right = w.t().contiguous();
      CHECK(pack_bf16_tiles_transposed(data<Bf16>(w), n, k).equal(pack_bf16_tiles(data<Bf16>(right), k, n)));
    }
  }

  TEST_CASE("rows of a product in bf16 are its fp32 rows rounded") {
    if (!bf16_tiles_serve()) return;  // a CPU without matrix tiles
    const at::Tensor x = at::randn({50, 70}).to(at::kBFloat16), w = at::randn({77, 70}).to(at::kBFloat16);
    const auto right = RightOperand<Bf16>::transposed(data<Bf16>(w), 77, 70);
    const at::Tensor rounded = at::empty({50, 77}, at::kBFloat16), whole = at::empty({50, 77}, at::kFloat);
    right.multiply(data<Bf16>(x), 50, data<Bf16>(rounded));
    right.multiply_to_float(data<Bf16>(x), 50, data<float>(whole));
    CHECK(rounded.equal(whole.to(at::kBFloat16)));
  }

  TEST_CASE("a weight's gradient is added to what is there, for sizes that fill no tile") {
    at::manual_seed(4);
    for (const auto& [rows, n, k] : {std::tuple{64, 64, 64}, {1, 1, 1}, {37, 50, 33}, {512, 17, 100}, {33, 560, 31}}) {
      CAPTURE(rows);
      CAPTURE(n);
      CAPTURE(k);
      const auto check_type = [&](auto* type, at::ScalarType dtype) {
        using T = std::remove_pointer_t<decltype(type)>;
        const at::Tensor g = at::randn({rows, n}).to(dtype), x = at::randn({rows, k}).to(dtype), before = at::randn({n, k});
        const at::Tensor expected = before.to(at::kDouble) + g.to(at::kDouble).t().matmul(x.to(at::kDouble)), sum = before.clone();
        add_weight_gradient(data<T>(g), data<T>(x), data<float>(sum), rows, n, k);
        CHECK((sum.to(at::kDouble) - expected).abs().max().template item<double>() < 1e-3);
      };
      check_type(static_cast<float*>(nullptr), at::kFloat);
      if (bf16_tiles_serve()) check_type(static_cast<Bf16*>(nullptr), at::kBFloat16);
    }
  }
}
