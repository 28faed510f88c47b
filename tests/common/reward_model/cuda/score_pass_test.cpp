#include "common/reward_model/score_pass.h"

#include <ATen/ATen.h>  // before doctest: both define CHECK, the last one counts
#include <doctest/doctest.h>

#include <cmath>
#include <vector>

#include "common/reward_model/with_score.h"
#include "tests/common/model/model_testing.h"

using namespace troupe;

namespace {

Parameters random_model() {
  Architecture a = testing::small_architecture();
  a.hidden = 192;
  a.intermediate = 352;
  a.heads = 6;
  a.kv_heads = 2;
  a.head_size = 32;
  a.max_positions = 256;
  Parameters model(a, at::kFloat);
  initialise_(model, 3);
  return with_score(model, 4);
}

Parameters in(const Parameters& model, at::ScalarType dtype, at::Device device) {
  Parameters copy(model.architecture(), dtype, device);
  copy.flat().copy_(model.flat());
  return copy;
}

std::vector<std::int32_t> text_of(std::size_t length, std::size_t seed, std::int64_t vocabulary) {
  std::vector<std::int32_t> ids;
  for (std::size_t i = 0; i < length; ++i) ids.push_back(static_cast<std::int32_t>((i * i * 7 + seed * 31 + i) % static_cast<std::size_t>(vocabulary)));
  return ids;
}

}  // namespace

TEST_SUITE("reward_model/cuda/score_pass") {
  TEST_CASE("scores and gradients on a GPU are the CPU's but for bf16, and the others in the batch change no bit of a score") {
    const Parameters model = random_model();
    const Transformer reference(in(model, at::kFloat, at::kCPU));
    const Transformer rounded(in(model, at::kBFloat16, at::kCPU));
    const Transformer gpu(in(model, at::kBFloat16, at::kCUDA));
    std::vector<std::vector<std::int32_t>> texts;
    for (const std::size_t length : {1, 17, 64, 200, 33}) texts.push_back(text_of(length, length, model.architecture().vocabulary));
    const std::vector<std::span<const std::int32_t>> views(texts.begin(), texts.end());
    const std::vector<double> grads = {1, -0.5, 0.25, 2, -1};

    const auto run = [&](const Transformer& transformer) {
      ScorePass pass(transformer, views, Recompute::kNone);
      at::Tensor gradients = at::zeros({model.layout().total}, transformer.parameters().flat().options().dtype(at::kFloat));
      pass.backward(grads, gradients);
      return std::pair(pass.scores(), gradients.cpu());
    };
    const auto [expected, expected_gradients] = run(reference);
    const auto [near, near_gradients] = run(rounded);
    const auto [found, gradients] = run(gpu);

    double cpu_error = 0, gpu_error = 0;
    for (std::size_t i = 0; i < expected.size(); ++i) {
      cpu_error = std::max(cpu_error, std::abs(static_cast<double>(near[i]) - static_cast<double>(expected[i])));
      gpu_error = std::max(gpu_error, std::abs(static_cast<double>(found[i]) - static_cast<double>(expected[i])));
      CHECK(ScorePass(gpu, std::span(views).subspan(i, 1), std::nullopt).scores() == std::vector<float>{found[i]});
    }
    // Both round to bf16 between their kernels, at places that differ a little.
    MESSAGE("largest error of a score: CPU in bf16 " << cpu_error << ", GPU " << gpu_error);
    CHECK(gpu_error < 3 * cpu_error + 1e-3);
    const auto error = [&](const at::Tensor& of) { return ((of - expected_gradients).norm() / expected_gradients.norm()).item<double>(); };
    MESSAGE("relative error of the gradient: CPU in bf16 " << error(near_gradients) << ", GPU " << error(gradients));
    CHECK(error(gradients) < 2 * error(near_gradients) + 1e-3);
  }

  TEST_CASE("a reward model learns on a GPU which of two texts is the better one") {
    const Parameters model = random_model();
    const Transformer gpu(in(model, at::kBFloat16, at::kCUDA));
    at::Tensor master = model.flat().to(at::kCUDA).clone();
    const std::vector<std::int32_t> better = text_of(40, 1, model.architecture().vocabulary);
    const std::vector<std::int32_t> worse = text_of(40, 2, model.architecture().vocabulary);
    const std::vector<std::span<const std::int32_t>> pair = {better, worse};
    double first = 0, margin = 0;
    for (int step = 0; step < 30; ++step) {
      ScorePass pass(gpu, pair, Recompute::kNone);
      margin = static_cast<double>(pass.scores()[0]) - static_cast<double>(pass.scores()[1]);
      if (step == 0) first = margin;
      const double slope = -1 / (1 + std::exp(margin));
      at::Tensor gradients = at::zeros_like(master);
      pass.backward(std::vector<double>{slope, -slope}, gradients);
      master -= 0.05 * gradients;
      gpu.parameters().flat().copy_(master);
    }
    CHECK(margin > first + 1);
  }
}
