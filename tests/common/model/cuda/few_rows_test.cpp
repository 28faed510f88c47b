#include <ATen/ATen.h>
#include <doctest/doctest.h>

#include <cstdint>
#include <functional>

#include "common/model/cuda/device.h"
#include "common/model/cuda/hopper/few_rows.h"
#include "common/model/cuda/forward_kernels.h"
#include "common/model/cuda/gemm.h"
#include "common/model/passes.h"

using namespace troupe;

namespace {

at::Tensor random_values(std::int64_t rows, std::int64_t columns, double scale) {
  return (at::randn({rows, columns}, on_gpu(at::kFloat)) * scale).to(at::kBFloat16);
}

/// The product as one of many rows', which is what the learner computes.
at::Tensor product(const at::Tensor& x, const at::Tensor& w, at::ScalarType dtype = at::kBFloat16) {
  at::Tensor many = at::zeros({256, x.size(1)}, x.options()), out = at::empty({256, w.size(0)}, on_gpu(dtype));
  many.narrow(0, 0, x.size(0)).copy_(x);
  multiply_transposed(many, w, out, Rows::kExact);
  return out.narrow(0, 0, x.size(0)).clone();
}

cuda::FewRows plain(const at::Tensor& x) { return {x.size(0), x.size(1), data_of<Bf16>(x)}; }

/// Inner dimensions of one chunk and of many, whole and with a rest; the last are those of Qwen2.5-0.5B.
void for_each_size(const std::function<void(std::int64_t rows, std::int64_t k)>& check_size) {
  for (const std::int64_t k : {16, 192, 1008, 896, 4864}) {
    for (const std::int64_t rows : {1, 2, 3, 4}) {
      CAPTURE(k);
      CAPTURE(rows);
      check_size(rows, k);
    }
  }
}

}  // namespace

TEST_SUITE("model/cuda/few_rows") {
  TEST_CASE("products have the bits that many rows' have") {
    at::manual_seed(1);
    for_each_size([](std::int64_t rows, std::int64_t k) {
      const at::Tensor w = random_values(1160, k, 0.05), x = random_values(rows, k, 1.0);
      const at::Tensor out = at::empty({rows, 1160}, on_gpu(at::kBFloat16)), logits = at::empty({rows, 1160}, on_gpu(at::kFloat));
      cuda::multiply_few(plain(x), data_of<Bf16>(w), 1160, data_of<Bf16>(out), current_stream());
      cuda::multiply_few(plain(x), data_of<Bf16>(w), 1160, data_of<float>(logits), current_stream());
      CHECK(out.equal(product(x, w)));
      CHECK(logits.equal(product(x, w, at::kFloat)));
    });
  }

  TEST_CASE("norm before, activation behind: the bits of the kernels one by one") {
    at::manual_seed(2);
    for_each_size([](std::int64_t rows, std::int64_t k) {
      const at::Tensor gate_up = random_values(2 * 352, k, 0.05), norm = random_values(1, k, 1.0), residual = at::randn({rows, k}, on_gpu(at::kFloat));
      const at::Tensor sum = residual.clone(), normed = at::empty({rows, k}, on_gpu(at::kBFloat16));
      const at::Tensor expected = at::empty({rows, 352}, on_gpu(at::kBFloat16)), activated = at::empty_like(expected);
      cuda::add_rms_norm(data_of<float>(residual), nullptr, data_of<Bf16>(norm), 1e-6F, rows, k, data_of<float>(sum), data_of<Bf16>(normed), nullptr, current_stream());
      cuda::swiglu(data_of<Bf16>(product(normed, gate_up)), rows, 352, data_of<Bf16>(expected), current_stream());

      cuda::swiglu_few({rows, k, nullptr, data_of<float>(residual), data_of<Bf16>(norm), 1e-6F}, data_of<Bf16>(gate_up), 352, data_of<Bf16>(activated), current_stream());

      CHECK(activated.equal(expected));
    });
  }

  TEST_CASE("a product added to the residual rows is rounded first") {
    at::manual_seed(3);
    for_each_size([](std::int64_t rows, std::int64_t k) {
      const at::Tensor w = random_values(200, k, 0.05), x = random_values(rows, k, 1.0), residual = at::randn({rows, 200}, on_gpu(at::kFloat));
      const at::Tensor expected = residual + product(x, w).to(at::kFloat);
      cuda::add_product_few(plain(x), data_of<Bf16>(w), 200, data_of<float>(residual), current_stream());
      CHECK(residual.equal(expected));
    });
  }
}
