#include <cmath>
#include <cstring>
#include <vector>

#include <ATen/ATen.h>
#include <doctest/doctest.h>

#include "actors/cuda/draw_kernels.h"
#include "actors/sampler.h"
#include "common/model/cuda/device.h"
#include "common/model/passes.h"

using namespace troupe;

namespace {

std::vector<SamplingParams> settings() {
  std::vector<SamplingParams> all;
  for (const double temperature : {0.0, 0.6, 1.0, 2.0}) {
    for (const std::int32_t top_k : {0, 1, 50}) {
      for (const double top_p : {1.0, 0.95, 0.3, 1e-6}) {
        for (const double min_p : {0.0, 0.05}) {
          all.emplace_back();
          all.back().temperature = temperature;
          all.back().top_k = top_k;
          all.back().top_p = top_p;
          all.back().min_p = min_p;
        }
      }
    }
  }
  return all;
}

struct Drawn {
  at::Tensor ids, logprobs;  // on the CPU
};

Drawn draw(const at::Tensor& logits, const std::vector<SamplingParams>& sampling, const std::vector<double>& uniforms) {
  const std::int64_t rows = logits.size(0), vocabulary = logits.size(1);
  std::vector<float> temperatures;
  std::vector<cuda::Truncation> truncations;
  for (const SamplingParams& s : sampling) {
    temperatures.push_back(static_cast<float>(s.temperature));
    truncations.push_back({s.top_p, static_cast<float>(s.min_p), s.top_k});
  }
  at::Tensor bytes = at::empty({rows * static_cast<std::int64_t>(sizeof(cuda::Truncation))}, at::kByte);
  std::memcpy(bytes.mutable_data_ptr(), truncations.data(), bytes.nbytes());
  bytes = bytes.to(at::kCUDA);
  const at::Tensor there = logits.to(at::kCUDA), temperature_N = at::tensor(temperatures).to(at::kCUDA), uniform_N = at::tensor(uniforms, at::kDouble).to(at::kCUDA);
  const at::Tensor partials = at::empty({cuda::draw_partials(rows, vocabulary)}, on_gpu(at::kFloat));
  const at::Tensor ids = at::full({rows}, -7, on_gpu(at::kInt)), logprobs = at::zeros({rows}, on_gpu(at::kFloat));
  cuda::draw_tokens({data_of<float>(there), rows, vocabulary, data_of<float>(temperature_N), data_of<double>(uniform_N),
                     reinterpret_cast<const cuda::Truncation*>(bytes.const_data_ptr()), data_of<float>(partials), data_of<std::int32_t>(ids),
                     data_of<float>(logprobs)},
                    current_stream());
  return {ids.cpu(), logprobs.cpu()};
}

}  // namespace

TEST_SUITE("actors/cuda/truncated_draw") {
  TEST_CASE("truncated rows are drawn as on the CPU, among others and alone") {
    const std::vector<SamplingParams> all = settings();
    const auto rows = std::ssize(all);
    at::manual_seed(3);
    for (const std::int64_t vocabulary : {7, 1000, 4097, 151'936}) {
      CAPTURE(vocabulary);
      for (const bool ties : {false, true}) {
        CAPTURE(ties);
        const at::Tensor noise = at::randn({rows, vocabulary}, at::kFloat).mul_(3.0);
        const at::Tensor logits = ties ? noise.round() : noise;
        std::vector<double> uniforms;
        for (std::int64_t row = 0; row < rows; ++row) uniforms.push_back(row % 16 == 0 ? 0.0 : row % 16 == 1 ? 1.0 - 1e-16 : at::rand({1}, at::kDouble).item<double>());
        const Drawn found = draw(logits, all, uniforms);
        SamplerScratch scratch;
        int differ = 0;
        for (std::int64_t row = 0; row < rows; ++row) {
          const auto i = static_cast<std::size_t>(row);
          const DrawnToken expected =
              draw_token({logits.const_data_ptr<float>() + row * vocabulary, static_cast<std::size_t>(vocabulary)}, all[i], {}, uniforms[i], scratch);
          if (found.ids[row].item<std::int32_t>() != expected.id) {
            ++differ;
            continue;
          }
          CHECK(std::abs(found.logprobs[row].item<float>() - expected.logprob) < 2e-5F * (1.0F + std::abs(expected.logprob)));
        }
        CHECK(differ <= rows / 20);  // weights are floats here and doubles there: a draw may fall between, the more so the more ids there are
        const std::int64_t one = rows - 3;
        const Drawn alone = draw(logits.narrow(0, one, 1), {all[static_cast<std::size_t>(one)]}, {uniforms[static_cast<std::size_t>(one)]});
        CHECK(alone.ids[0].item<std::int32_t>() == found.ids[one].item<std::int32_t>());
        CHECK(alone.logprobs[0].item<float>() == found.logprobs[one].item<float>());
      }
    }
  }

  TEST_CASE("a logit that is not finite is told") {
    at::Tensor logits = at::randn({1, 500}, at::kFloat);
    logits[0][77] = std::nan("");
    SamplingParams nucleus;
    nucleus.top_p = 0.9;
    CHECK(draw(logits, {nucleus}, {0.5}).ids[0].item<std::int32_t>() == -1);
  }
}
