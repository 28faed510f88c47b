#include <ATen/ATen.h>
#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "common/model/token_logprobs.h"
#include "common/model/transformer.h"
#include "tests/common/model/model_testing.h"

using namespace troupe;

namespace {

struct Case {
  std::string name;
  std::int64_t heads, kv_heads, head_size;
  bool bias, norms, tied;
};

// Groups of 1, 3, 7 and 16 heads; head sizes that the decoding kernel takes, and one that it does not.
const std::vector<Case> kCases = {{"group 7, size 64, bias", 14, 2, 64, true, false, true},
                                  {"group 2, size 128, norms", 4, 2, 128, false, true, false},
                                  {"group 3, size 64", 9, 3, 64, false, false, true},
                                  {"group 16, size 32", 16, 1, 32, false, false, true},
                                  {"group 1, size 64", 2, 2, 64, true, false, false},
                                  {"group 2, size 24", 4, 2, 24, false, true, true}};

Architecture architecture_of(const Case& c) {
  Architecture a = testing::small_architecture();
  a.hidden = 192;
  a.intermediate = 352;
  a.vocabulary = 504;
  a.max_positions = 512;
  a.heads = c.heads;
  a.kv_heads = c.kv_heads;
  a.head_size = c.head_size;
  a.qkv_bias = c.bias;
  a.qk_norm = c.norms;
  a.tied_embeddings = c.tied;
  return a;
}

Parameters on_gpu(const Parameters& parameters) {
  Parameters copy(parameters.architecture(), at::kBFloat16, at::kCUDA);
  copy.flat().copy_(parameters.flat());
  return copy;
}

double relative_error(const at::Tensor& result, const at::Tensor& expected) {
  const at::Tensor difference = result.cpu().to(at::kDouble) - expected.to(at::kDouble);
  return difference.norm().item<double>() / expected.to(at::kDouble).norm().item<double>();
}

/// Rounds parameters to bf16, as the GPU has them.
Parameters rounded(const Parameters& parameters) {
  Parameters result(parameters.architecture(), at::kFloat);
  result.flat().copy_(parameters.flat().to(at::kBFloat16));
  return result;
}

/// Sequences fed to a cache of scattered pages: prefill cut at `cuts` rows a call, then one token a call. Hidden states as packed.
at::Tensor through_cache(const Transformer& model, const PackedSequences& batch, std::int64_t shared, const std::vector<std::int64_t>& cuts) {
  const Architecture& a = model.parameters().architecture();
  const std::int64_t sequences = std::ssize(batch.sequence_starts) - 1, each = pages_of(a.max_positions);
  KvCache cache(a, sequences * each, at::kBFloat16, at::kCUDA);
  std::vector<std::vector<std::int32_t>> pages(static_cast<std::size_t>(sequences));
  for (std::int64_t page = 0; page < sequences * each; ++page) pages[static_cast<std::size_t>(page % sequences)].push_back(static_cast<std::int32_t>(page));
  at::Tensor result = at::zeros({batch.ids_T.numel(), a.hidden}, at::TensorOptions(at::kBFloat16).device(at::kCUDA));
  std::vector<std::int64_t> done(pages.size(), 0);
  for (std::size_t call = 0;; ++call) {
    std::vector<std::int64_t> rows;
    std::vector<CachedRun> runs;
    for (std::size_t s = 0; s < pages.size(); ++s) {
      const std::int64_t start = batch.sequence_starts[s], length = batch.sequence_starts[s + 1] - start;
      // Of the first call the sequences' common beginning, computed for the first of them alone.
      if (call == 0 && shared > 0) {
        if (s > 0) {
          done[s] = shared;
          continue;
        }
      }
      const std::int64_t step = call == 0 && shared > 0 ? shared : call < cuts.size() ? cuts[call] : 1;
      const std::int64_t tokens = std::min(step, length - done[s]);
      if (tokens == 0) continue;
      const bool shares = shared > 0 && call > 0;
      if (shares && s > 0) runs.push_back({done[s], tokens, shared, pages[0], pages[s]});
      else if (shares) runs.push_back({done[s], tokens, shared, pages[0], std::span(pages[0]).subspan(static_cast<std::size_t>(pages_of(shared)))});
      else runs.push_back({done[s], tokens, 0, {}, pages[s]});
      for (std::int64_t i = 0; i < tokens; ++i) rows.push_back(start + done[s]++);
    }
    if (rows.empty()) return result;
    const at::Tensor index = at::tensor(rows, at::kLong);
    result.index_copy_(0, index.to(at::kCUDA), model.forward_cached(batch.ids_T.index_select(0, index), runs, cache));
  }
}

}  // namespace

TEST_SUITE("model/cuda/forward") {
  TEST_CASE("hidden states and logits are the CPU's in fp32, but for bf16's rounding") {
    for (const Case& c : kCases) {
      CAPTURE(c.name);
      const Architecture a = architecture_of(c);
      const Parameters parameters = rounded(testing::random_parameters(a, at::kFloat));
      const Transformer host(parameters), gpu(on_gpu(parameters));
      const PackedSequences batch = testing::sequences_of({1, 15, 64, 129, 200}, a.vocabulary);

      const at::Tensor expected = host.forward(batch, nullptr), hidden = gpu.forward(batch, nullptr);

      CHECK(relative_error(hidden, expected) < 4e-2);
      CHECK(relative_error(gpu.logits(hidden), host.logits(expected)) < 4e-2);
    }
  }

  TEST_CASE("what is kept for the backward pass changes no bit, and a sequence alone has the bits that it has among others") {
    for (const Case& c : kCases) {
      CAPTURE(c.name);
      const Architecture a = architecture_of(c);
      const Transformer gpu(on_gpu(testing::random_parameters(a, at::kFloat)));
      const PackedSequences batch = testing::sequences_of({3, 130, 64, 200, 77}, a.vocabulary);
      const at::Tensor packed = gpu.forward(batch, nullptr);

      Activations saved;
      CHECK(gpu.forward(batch, &saved).equal(packed));
      for (std::size_t s = 0; s + 1 < batch.sequence_starts.size(); ++s) {
        const std::int64_t start = batch.sequence_starts[s], length = batch.sequence_starts[s + 1] - start;
        CHECK(gpu.forward({batch.ids_T.narrow(0, start, length).clone(), {0, length}}, nullptr).equal(packed.narrow(0, start, length)));
      }
    }
  }

  TEST_CASE("prefill in pieces and decoding through pages give the bits of one causal pass") {
    for (const Case& c : kCases) {
      CAPTURE(c.name);
      const Architecture a = architecture_of(c);
      const Transformer gpu(on_gpu(testing::random_parameters(a, at::kFloat)));
      const PackedSequences batch = testing::sequences_of({1, 63, 64, 65, 129, 260, 300}, a.vocabulary);
      const at::Tensor packed = gpu.forward(batch, nullptr);

      CHECK(through_cache(gpu, batch, 0, {300}).equal(packed));
      CHECK(through_cache(gpu, batch, 0, {50, 2, 100}).equal(packed));
      CHECK(through_cache(gpu, batch, 0, {}).equal(packed));
    }
  }

  TEST_CASE("a beginning held once for several sequences gives the same bits at any length") {
    for (const Case& c : kCases) {
      for (const std::int64_t shared : {1, 63, 64, 100}) {
        CAPTURE(c.name);
        CAPTURE(shared);
        const Architecture a = architecture_of(c);
        const Transformer gpu(on_gpu(testing::random_parameters(a, at::kFloat)));
        PackedSequences batch = testing::sequences_of({150, 180, 201}, a.vocabulary);
        for (const std::int64_t start : {150, 330}) batch.ids_T.narrow(0, start, shared).copy_(batch.ids_T.narrow(0, 0, shared));
        const at::Tensor packed = gpu.forward(batch, nullptr);
        const at::Tensor result = through_cache(gpu, batch, shared, {0, 20});
        CHECK(result.narrow(0, 0, 150).equal(packed.narrow(0, 0, 150)));
        CHECK(result.narrow(0, 150 + shared, 180 - shared).equal(packed.narrow(0, 150 + shared, 180 - shared)));
        CHECK(result.narrow(0, 330 + shared, 201 - shared).equal(packed.narrow(0, 330 + shared, 201 - shared)));
      }
    }
  }

  TEST_CASE("parameters in fp32 and sizes that the kernels do not take are refused by name") {
    Architecture a = testing::small_architecture();
    CHECK_THROWS_WITH_AS(Transformer(Parameters(a, at::kFloat, at::kCUDA)), doctest::Contains("computes in bf16, not in Float"), std::exception);
    a.intermediate = 100;
    CHECK_THROWS_WITH_AS(Transformer(Parameters(a, at::kBFloat16, at::kCUDA)), doctest::Contains("intermediate_size is 100"), std::exception);
  }
}
