#include "common/model/token_logprobs.h"

#include <ATen/ATen.h>
#include <doctest/doctest.h>

using namespace troupe;

TEST_SUITE("model/token_logprobs") {
  TEST_CASE("kept logits give the same numbers and gradients as those computed again") {
    at::manual_seed(5);
    constexpr std::int64_t kRows = 600, kHidden = 48, kVocabulary = 333;  // more than a chunk of rows
    for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
      CAPTURE(c10::toString(dtype));
      const at::Tensor hidden = at::randn({kRows, kHidden}).to(dtype), head = at::randn({kVocabulary, kHidden}).to(dtype);
      const at::Tensor targets = at::randint(kVocabulary, {kRows}, at::kLong), grad_logp = at::randn({kRows});
      const TokenLogprobs kept = token_logprobs(hidden, head, targets, 0.8, true), again = token_logprobs(hidden, head, targets, 0.8);
      REQUIRE(kept.logits_NV.defined());
      CHECK(!again.logits_NV.defined());
      CHECK(kept.logits_NV.equal(row_logits(hidden, head)));
      CHECK(kept.logp_N.equal(again.logp_N));
      CHECK(kept.entropy_N.equal(again.entropy_N));
      at::Tensor grad_kept = at::zeros({kVocabulary, kHidden}, at::kFloat), grad_again = at::zeros_like(grad_kept);
      const at::Tensor first = token_logprobs_backward(hidden, head, targets, 0.8, kept, grad_logp, grad_kept);
      const at::Tensor second = token_logprobs_backward(hidden, head, targets, 0.8, again, grad_logp, grad_again);
      CHECK(first.equal(second));
      CHECK(grad_kept.equal(grad_again));
      CHECK(grad_kept.abs().max().item<float>() > 0);
    }
  }
}
