#include "common/model/cuda/hopper/attention_forward.h"

#include <algorithm>
#include <vector>

#include <ATen/ATen.h>
#include <doctest/doctest.h>

#include "common/model/cuda/device.h"
#include "common/model/passes.h"

using namespace troupe;

namespace {

struct Case {
  std::int64_t heads, kv_heads, head_size;
  std::vector<std::int32_t> lengths;
  double scale;  // of the entries: large ones make some weights vanish
};

// Sequences of one row, of whole blocks and a row more or less; groups of 1, 2, 3 and 7.
const std::vector<Case> kCases = {{14, 2, 64, {1, 127, 128, 129, 1000, 64, 65, 2}, 1.0},
                                  {4, 2, 128, {1, 63, 64, 65, 700, 128, 129, 300}, 1.0},
                                  {9, 3, 64, {513, 40, 2048, 7}, 4.0},
                                  {2, 2, 128, {1536, 200, 1}, 4.0},
                                  {2, 2, 64, {5}, 30.0}};

}  // namespace

TEST_SUITE("model/cuda/attention_forward") {
  TEST_CASE("rows have the bits of FlashAttention-2") {
    for (const Case& c : kCases) {
      CAPTURE(c.head_size);
      CAPTURE(c.lengths.size());
      std::vector<std::int32_t> starts = {0};
      for (const std::int32_t length : c.lengths) starts.push_back(starts.back() + length);
      const std::int64_t rows = starts.back(), longest = std::ranges::max(c.lengths);
      const at::Tensor heads = at::randn({rows, c.heads + 2 * c.kv_heads, c.head_size}, on_gpu(at::kFloat)).mul_(c.scale).to(at::kBFloat16);
      const at::Tensor starts_S = at::tensor(starts, at::kInt).to(at::kCUDA);
      const at::Tensor attended = at::full({rows, c.heads, c.head_size}, 77.0, on_gpu(at::kBFloat16)), lse = at::zeros({c.heads, rows}, on_gpu(at::kFloat));
      cuda::AttentionRows own{data_of<Bf16>(heads), rows, static_cast<std::int32_t>(c.heads), static_cast<std::int32_t>(c.kv_heads),
                              static_cast<std::int32_t>(c.head_size), data_of<std::int32_t>(starts_S), static_cast<std::int32_t>(c.lengths.size()),
                              static_cast<std::int32_t>(longest), data_of<Bf16>(attended), data_of<float>(lse)};
      REQUIRE(cuda::attention_forward_serves(own));
      cuda::attention_forward(own, current_stream());

      const auto [expected, expected_lse, state, unused, mask] = at::_flash_attention_forward(
          heads.narrow(1, 0, c.heads), heads.narrow(1, c.heads, c.kv_heads), heads.narrow(1, c.heads + c.kv_heads, c.kv_heads), starts_S, starts_S,
          std::max<std::int64_t>(longest, 2), longest, 0.0, true, false);
      CHECK((attended != expected).sum().item<std::int64_t>() == 0);
      CHECK((lse - expected_lse).abs().max().item<double>() < 1e-5 * c.scale * c.scale);
    }
  }
}
