#include <string>
#include <vector>

#include <ATen/ATen.h>
#include <doctest/doctest.h>

#include "common/model/transformer.h"
#include "tests/common/model/golden_model.h"
#include "tests/common/model/model_testing.h"

using namespace troupe;
using namespace troupe::testing;

namespace {

/// What a model computes and the gradient of sum(hidden * weights), on the CPU.
struct Result {
  at::Tensor hidden_TH, gradients;
};

Parameters copy_of(const Parameters& parameters, at::ScalarType dtype, at::Device device) {
  Parameters copy(parameters.architecture(), dtype, device);
  copy.flat().copy_(parameters.flat());
  return copy;
}

Result run(const Parameters& parameters, const PackedSequences& batch, Recompute recompute = Recompute::kNone) {
  const Transformer model(parameters);
  const at::TensorOptions like = parameters.flat().options();
  Activations saved;
  saved.recompute = recompute;
  const at::Tensor hidden = model.forward(batch, &saved);
  const at::Tensor weights = at::arange(hidden.numel(), at::kFloat).mul_(1.3).cos_().view(hidden.sizes());
  at::Tensor gradients = at::zeros({parameters.layout().total}, like.dtype(at::kFloat));
  model.backward(batch, saved, weights.to(like), gradients);
  return {hidden.to(at::kFloat).cpu(), gradients.cpu()};
}

std::vector<std::pair<std::string, Architecture>> architectures() {
  Architecture llama = small_architecture();
  llama.max_positions = 1024;
  Architecture untied = llama;
  untied.model_type = "qwen2";
  untied.tied_embeddings = false;
  untied.qkv_bias = true;
  untied.head_size = 64;
  untied.heads = 6;
  Architecture normed = llama;
  normed.model_type = "qwen3";
  normed.qk_norm = true;
  normed.head_size = 24;
  Architecture wide = normed;  // more than one access of a thread for a row, pairs of a lane, heads of a group
  wide.hidden = 1160;
  wide.intermediate = 520;
  wide.heads = 6;
  wide.head_size = 128;
  return {{"llama", llama}, {"qwen2", untied}, {"qwen3", normed}, {"wide", wide}};
}

/// Two prompts, each with what goes on behind it.
PackedSequences sharing(std::int64_t vocabulary) {
  PackedSequences batch = sequences_of({130, 300, 1, 77, 17, 5, 200}, vocabulary);
  batch.prefixes = {-1, 0, 0, 0, -1, 4, 4};
  return batch;
}

/// The rows of `batch` that its sequences see, sequence after sequence.
at::Tensor rows_seen(const PackedSequences& batch) {
  std::vector<at::Tensor> parts;
  for (std::int64_t s = 0; s < batch.sequences(); ++s) {
    const PackedSequences::Rows rows = batch.rows(s);
    parts.push_back(at::arange(rows.prefix_begin, rows.prefix_begin + rows.prefix_tokens, at::kLong));
    parts.push_back(at::arange(rows.begin, rows.begin + rows.tokens, at::kLong));
  }
  return at::cat(parts);
}

/// The same sequences with a copy of the prefix each.
PackedSequences apart(const PackedSequences& batch) {
  PackedSequences copies{batch.ids_T.index_select(0, rows_seen(batch)), {0}};
  for (std::int64_t s = 0; s < batch.sequences(); ++s) {
    copies.sequence_starts.push_back(copies.sequence_starts.back() + batch.rows(s).prefix_tokens + batch.rows(s).tokens);
  }
  return copies;
}

}  // namespace

TEST_SUITE("model/cuda/backward") {
  TEST_CASE("logits, log-probabilities and gradients agree with PyTorch's autograd in float64") {
    for (const char* name : {"llama", "qwen2", "qwen3"}) {
      CAPTURE(name);
      const Golden golden(name);
      const Transformer model = golden.model(at::kBFloat16, at::kCUDA);

      const Computed found = compute(golden, model);

      // As for bf16 on the CPU: relative rounding 2^-9, about ten in a row, of random signs, forward and as many backward.
      CHECK(rms_error_of(found.logits, golden.tensors.at("logits")) < 0.02);
      CHECK(rms_error_of(found.logprobs.logp_N, golden.tensors.at("logp")) < 0.02);
      CHECK(rms_error_of(found.logprobs.entropy_N, golden.tensors.at("entropy")) < 0.02);
      for (const ParameterSpec& spec : model.parameters().layout().tensors) {
        CAPTURE(spec.name);
        const at::Tensor gradient = found.gradients.narrow(0, spec.offset, spec.numel).view(spec.shape);
        // The same shift of all keys changes no probability but through their positions: the terms of its gradient cancel.
        const double tolerance = spec.name.find("k_proj.bias") == std::string::npos ? 0.05 : 0.1;
        CHECK(rms_error_of(gradient, golden.tensors.at("gradient." + spec.name)) < tolerance);
      }
    }
  }

  TEST_CASE("each tensor's gradient is the CPU's in fp32, but for the roundings of bf16") {
    for (const auto& [name, architecture] : architectures()) {
      CAPTURE(name);
      // Sequences of one token, of a few and of hundreds; rows for several parts of every sum over rows.
      const PackedSequences batch = sequences_of({1, 5, 130, 300, 17, 700, 64}, architecture.vocabulary);
      const Parameters low = random_parameters(architecture, at::kBFloat16);

      const Result found = run(copy_of(low, at::kBFloat16, at::kCUDA), batch);

      const Result expected = run(copy_of(low, at::kFloat, at::kCPU), batch), rounded = run(low, batch);
      // The CPU rounds to bf16 at the same places, so its error is what that costs; the two differ in which way each rounding goes.
      CHECK(rms_error_of(found.hidden_TH, expected.hidden_TH) < 1.3 * rms_error_of(rounded.hidden_TH, expected.hidden_TH));
      for (const ParameterSpec& spec : low.layout().tensors) {
        if (spec.name == "lm_head.weight") continue;  // token_logprobs' business
        CAPTURE(spec.name);
        const auto part = [&](const Result& result) { return result.gradients.narrow(0, spec.offset, spec.numel); };
        const double bf16 = rms_error_of(part(rounded), part(expected));
        CHECK(bf16 < 0.05);
        CHECK(rms_error_of(part(found), part(expected)) < 1.5 * bf16);
      }
    }
  }

  TEST_CASE("rows behind a shared prefix have the bits that they have behind one of their own, and the CPU's gradients") {
    for (const auto& [name, architecture] : architectures()) {
      CAPTURE(name);
      const PackedSequences batch = sharing(architecture.vocabulary);
      const Parameters low = random_parameters(architecture, at::kBFloat16), parameters = copy_of(low, at::kBFloat16, at::kCUDA);

      const Result found = run(parameters, batch);

      const Transformer model(parameters);
      const at::Tensor plain = model.forward(apart(batch), nullptr).to(at::kFloat).cpu();
      CHECK(plain.equal(found.hidden_TH.index_select(0, rows_seen(batch))));
      const Result expected = run(copy_of(low, at::kFloat, at::kCPU), batch), rounded = run(low, batch);
      for (const ParameterSpec& spec : low.layout().tensors) {
        if (spec.name == "lm_head.weight") continue;  // token_logprobs' business
        CAPTURE(spec.name);
        const auto part = [&](const Result& result) { return result.gradients.narrow(0, spec.offset, spec.numel); };
        // The GPU rounds each sequence's part of a prefix's gradients to bf16 before they are added, the CPU their sum.
        const double bf16 = rms_error_of(part(rounded), part(expected));
        CHECK(bf16 < 0.05);
        CHECK(rms_error_of(part(found), part(expected)) < 2.0 * bf16);
      }
      CHECK(run(parameters, batch).gradients.equal(found.gradients));
      const Result again = run(parameters, batch, Recompute::kBlock);
      CHECK(again.hidden_TH.equal(found.hidden_TH));
      CHECK(again.gradients.equal(found.gradients));
    }
  }

  TEST_CASE("two backward passes over the same rows give the same bits") {
    Architecture architecture = small_architecture();
    architecture.max_positions = 2048;
    architecture.qkv_bias = true;
    architecture.qk_norm = true;
    // Tokens that come up hundreds of times, and sequences long enough for flash attention to share out their keys.
    const PackedSequences batch = sequences_of({2000, 900, 1500, 1}, 7);
    for (const std::int64_t head_size : {16, 64, 128}) {
      CAPTURE(head_size);
      architecture.head_size = head_size;
      const Parameters parameters = copy_of(random_parameters(architecture, at::kBFloat16), at::kBFloat16, at::kCUDA);

      const Result first = run(parameters, batch);

      for (int again = 0; again < 5; ++again) CHECK(run(parameters, batch).gradients.equal(first.gradients));
    }
  }

  TEST_CASE("gradients are added to what is there") {
    const Architecture architecture = small_architecture();
    const PackedSequences batch = sequences_of({33, 20}, architecture.vocabulary);
    const Parameters parameters = copy_of(random_parameters(architecture, at::kBFloat16), at::kBFloat16, at::kCUDA);
    const Transformer model(parameters);
    Activations saved;
    const at::Tensor hidden = model.forward(batch, &saved), grad = at::ones_like(hidden);
    at::Tensor once = at::zeros({parameters.layout().total}, hidden.options().dtype(at::kFloat)), more = at::full_like(once, 8.0);

    model.backward(batch, saved, grad, once);
    model.backward(batch, saved, grad, more);

    CHECK(once.abs().max().item<float>() > 0.1F);
    CHECK((more - 8.0 - once).abs().max().item<float>() < 1e-5F * once.abs().max().item<float>());
  }

  TEST_CASE("what is computed again in the backward has the bits that it had") {
    for (const auto& [name, architecture] : architectures()) {
      CAPTURE(name);
      const Parameters parameters = copy_of(random_parameters(architecture, at::kBFloat16), at::kBFloat16, at::kCUDA);
      const PackedSequences batch = sequences_of({300, 1, 77, 200}, architecture.vocabulary);
      const Result kept = run(parameters, batch);

      for (const Recompute recompute : {Recompute::kActivations, Recompute::kBlock}) {
        const Result again = run(parameters, batch, recompute);
        CHECK(again.hidden_TH.equal(kept.hidden_TH));
        CHECK(again.gradients.equal(kept.gradients));
      }
    }
  }
}
