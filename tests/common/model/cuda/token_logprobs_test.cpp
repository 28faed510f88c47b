#include "common/model/token_logprobs.h"

#include <cmath>

#include <ATen/ATen.h>
#include <doctest/doctest.h>

using namespace troupe;

namespace {

/// Rows of hidden states and a head whose logits spread over about ±12, on the CPU.
struct Case {
  Case(std::int64_t rows, std::int64_t vocabulary, std::int64_t width = 64) {
    const auto wave = [](std::int64_t count, double step) { return at::arange(count, at::kDouble).mul_(step).sin_(); };
    hidden_NH = wave(rows * width, 0.61803).mul_(1.5).to(at::kBFloat16).view({rows, width});
    head_VH = wave(vocabulary * width, 1.41421).to(at::kBFloat16).view({vocabulary, width});
    targets_N = at::arange(rows, at::kLong).mul_(7919).remainder_(vocabulary);
    grad_N = wave(rows, 2.3).add_(0.2).to(at::kFloat);
  }
  TokenLogprobs on_gpu(double temperature) const {
    return token_logprobs(hidden_NH.cuda(), head_VH.cuda(), targets_N, temperature);
  }
  at::Tensor hidden_NH, head_VH, targets_N, grad_N;
};

/// The error that roundings to bf16 of a product's left operand make, as a norm: 2^-8 of each term at most.
double rounding_error(const at::Tensor& left, const at::Tensor& right) {
  return std::ldexp(left.square().mm(right.square()).sum().sqrt().item<double>(), -8);
}

double error(const at::Tensor& found, const at::Tensor& expected) {
  return (found.cpu().to(at::kDouble) - expected).norm().item<double>();
}

}  // namespace

TEST_SUITE("model/cuda/token_logprobs") {
  TEST_CASE("log-probabilities, entropies and gradients are those of double precision") {
    // One chunk, several; one tile of columns, several; one block of gradients, several; vocabularies that are no multiple of 4; the size of
    // Qwen 2.5 0.5B.
    for (const auto& [rows, vocabulary] : std::vector<std::pair<std::int64_t, std::int64_t>>{
             {1, 104}, {7, 4097}, {1500, 4096}, {33, 9001}, {4200, 20000}, {17000, 130}, {40, 151936}}) {
      for (const double temperature : {1.0, 0.7}) {
        CAPTURE(rows);
        CAPTURE(vocabulary);
        CAPTURE(temperature);
        const Case c(rows, vocabulary, vocabulary > 100000 ? 896 : 64);
        const at::Tensor hidden = c.hidden_NH.to(at::kDouble), head = c.head_VH.to(at::kDouble);
        const at::Tensor all = at::log_softmax(hidden.mm(head.t()) / temperature, -1), p = all.exp();

        const TokenLogprobs found = c.on_gpu(temperature);
        at::Tensor grad_head = at::zeros(head.sizes(), found.logp_N.options());
        const at::Tensor grad_hidden = token_logprobs_backward(c.hidden_NH.cuda(), c.head_VH.cuda(), c.targets_N, temperature, found,
                                                               c.grad_N.cuda(), grad_head);

        // fp32 sums of up to 20,000 terms of one sign, and logits of up to 20 with 2^-24 of their size.
        const at::Tensor index = c.targets_N.unsqueeze(1);
        CHECK((found.logp_N.cpu() - all.gather(1, index).squeeze(1)).abs().max().item<double>() < 2e-5);
        CHECK((found.entropy_N.cpu() + (p * all).sum(-1)).abs().max().item<double>() < 5e-5);
        const at::Tensor grads = (at::zeros_like(p).scatter_(1, index, 1.0) - p) * (c.grad_N.to(at::kDouble) / temperature).unsqueeze(1);
        const at::Tensor expected = grads.mm(head);
        // Hidden rows' gradients are rounded themselves.
        CHECK(error(grad_hidden, expected) < rounding_error(grads, head) + std::ldexp(expected.norm().item<double>(), -8));
        CHECK(error(grad_head, grads.t().mm(hidden)) < rounding_error(grads.t(), hidden));
      }
    }
  }

  TEST_CASE("the head's gradient is added to what is there") {
    const Case c(300, 5000);
    const TokenLogprobs found = c.on_gpu(1.0);
    at::Tensor once = at::zeros(c.head_VH.sizes(), found.logp_N.options()), more = at::full_like(once, 3.0);
    for (at::Tensor* to : {&once, &more}) {
      token_logprobs_backward(c.hidden_NH.cuda(), c.head_VH.cuda(), c.targets_N, 1.0, found, c.grad_N.cuda(), *to);
    }
    CHECK((more - 3.0 - once).abs().max().item<float>() < 1e-5F * std::max(1.0F, once.abs().max().item<float>()));
  }

  TEST_CASE("a row's bits do not depend on the rows beside it") {
    const Case c(1500, 9001);
    const TokenLogprobs all = c.on_gpu(0.9);
    for (const auto& [first, rows] : std::vector<std::pair<std::int64_t, std::int64_t>>{{0, 2}, {3, 64}, {800, 700}, {1480, 20}}) {
      CAPTURE(first);
      const TokenLogprobs part = token_logprobs(c.hidden_NH.narrow(0, first, rows).cuda(), c.head_VH.cuda(),
                                                c.targets_N.narrow(0, first, rows).contiguous(), 0.9);
      CHECK(part.logp_N.equal(all.logp_N.narrow(0, first, rows)));
      CHECK(part.entropy_N.equal(all.entropy_N.narrow(0, first, rows)));
    }
  }

  TEST_CASE("logits far apart give neither infinities nor NaN") {
    Case c(4, 5000);
    c.hidden_NH.mul_(300.0);
    const TokenLogprobs found = c.on_gpu(1.0);
    CHECK(found.logp_N.isfinite().all().item<bool>());
    CHECK(found.entropy_N.isfinite().all().item<bool>());
    CHECK(found.entropy_N.min().item<float>() > -1e-5F);
  }
}
