#include "learner/tensor_ranks.h"

#include "common/model/compute_device.h"
#include "tests/learner/tensor_testing.h"

using namespace troupe;
using namespace troupe::testing;

namespace {

/// Ranks take the GPUs in turn: on a machine with one the two of a test share it, and meet over the CPU.
at::Device gpu_of(int rank) { return compute_device("cuda", "test", at::kBFloat16, rank); }

double rms_error(const at::Tensor& found, const at::Tensor& expected) { return ((found - expected).norm() / expected.norm()).item<double>(); }

}  // namespace

TEST_SUITE("learner/cuda/tensor_ranks") {
  TEST_CASE("two ranks that hold a model together on GPUs come to what one GPU does, but for the roundings of bf16") {
    for (const bool normed : {false, true}) {
      CAPTURE(normed);
      Architecture a = small_architecture();
      a.qkv_bias = !normed;
      a.qk_norm = normed;
      a.tied_embeddings = normed;
      const Parameters low = random_parameters(a, at::kBFloat16);
      Parameters precise(a, at::kFloat);
      precise.flat().copy_(low.flat());
      const auto texts = texts_for(a.vocabulary);
      const Passed expected = pass_over(precise, texts), alone = pass_over(low.on(gpu_of(0)), texts);

      const std::vector<Passed> found = passed_on(2, low, Recompute::kNone, gpu_of);

      // Against fp32 both are off by the roundings of bf16, at nearly the same places.
      CHECK(rms_error(found[0].logp_N, expected.logp_N) < 1.5 * rms_error(alone.logp_N, expected.logp_N));
      CHECK(rms_error(found[0].gradients, expected.gradients) < 1.5 * rms_error(alone.gradients, expected.gradients));
      CHECK(found[1].logp_N.equal(found[0].logp_N));
      CHECK(passed_on(2, low, Recompute::kNone, gpu_of)[0].gradients.equal(found[0].gradients));
      CHECK(passed_on(2, low, Recompute::kBlock, gpu_of)[0].gradients.equal(found[0].gradients));
    }
  }
}
