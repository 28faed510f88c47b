#include "common/model/cuda/hopper/swiglu.h"

#include <ATen/ATen.h>
#include <doctest/doctest.h>

#include "common/model/cuda/backward_kernels.h"
#include "common/model/cuda/device.h"
#include "common/model/cuda/forward_kernels.h"
#include "common/model/cuda/gemm.h"
#include "common/model/passes.h"

using namespace troupe;

namespace {

struct Sizes {
  std::int64_t rows, hidden, inner;
};

at::Tensor random(std::int64_t rows, std::int64_t columns, double scale) {
  return at::randn({rows, columns}, on_gpu(at::kFloat)).mul_(scale).to(at::kBFloat16);
}

at::Tensor unset(std::int64_t rows, std::int64_t columns) { return at::full({rows, columns}, 77.0, on_gpu(at::kBFloat16)); }

}  // namespace

TEST_SUITE("model/cuda/swiglu") {
  // Shapes of Qwen 2.5 0.5B and 1.5B; rows, columns and inner dimensions that fill no tile.
  const std::vector<Sizes> kSizes = {{2048, 896, 4864}, {1024, 1536, 8960}, {1500, 1160, 520}, {1153, 64, 96}};

  TEST_CASE("the product with SwiGLU has the bits of the two apart") {
    for (const auto& [rows, hidden, inner] : kSizes) {
      CAPTURE(inner);
      const at::Tensor normed = random(rows, hidden, 1.0), weights = random(2 * inner, hidden, 0.1);
      const at::Tensor gate_up = unset(rows, 2 * inner), activated = unset(rows, inner), alone = unset(rows, inner);
      cuda::GateUpProduct product{data_of<Bf16>(normed),  data_of<Bf16>(weights),  rows, hidden, inner,
                                  data_of<Bf16>(gate_up), data_of<Bf16>(activated)};
      REQUIRE(cuda::fused_swiglu_serves(product));

      cuda::fused_swiglu(product, current_stream());
      product.gate_up = nullptr;
      product.activated = data_of<Bf16>(alone);
      cuda::fused_swiglu(product, current_stream());

      const at::Tensor expected_gate_up = unset(rows, 2 * inner), expected = unset(rows, inner);
      multiply_transposed(normed, weights, expected_gate_up, Rows::kExact);
      cuda::swiglu(data_of<Bf16>(expected_gate_up), rows, inner, data_of<Bf16>(expected), current_stream());
      CHECK(gate_up.equal(expected_gate_up));
      CHECK(activated.equal(expected));
      CHECK(alone.equal(expected));
    }
  }

  TEST_CASE("the product behind SwiGLU with its gradient has the bits of the two apart") {
    for (const auto& [rows, hidden, inner] : kSizes) {
      CAPTURE(inner);
      const at::Tensor grad = random(rows, hidden, 0.1), down = random(hidden, inner, 0.1), gate_up = random(rows, 2 * inner, 2.0);
      const at::Tensor found = unset(rows, 2 * inner), expected = unset(rows, 2 * inner), grad_activated = unset(rows, inner);
      const cuda::SwigluGradientProduct product{data_of<Bf16>(grad), data_of<Bf16>(down),    rows, hidden, inner,
                                                data_of<Bf16>(gate_up), data_of<Bf16>(found)};
      REQUIRE(cuda::fused_swiglu_backward_serves(product));
      cuda::fused_swiglu_backward(product, current_stream());

      multiply_transposed(grad, down.t().contiguous(), grad_activated, Rows::kExact);
      cuda::swiglu_backward(product.gate_up, data_of<Bf16>(grad_activated), rows, inner, data_of<Bf16>(expected), current_stream());
      CHECK(found.equal(expected));
    }
  }
}
