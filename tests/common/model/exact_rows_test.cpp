#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <doctest/doctest.h>

#include <cmath>
#include <vector>

#include "common/model/kernels/gemm.h"
#include "common/model/token_logprobs.h"
#include "common/model/transformer.h"
#include "tests/common/model/model_testing.h"

// The promise of exact mode: what a row gives does not depend on what else is computed beside it, nor on how its sequence was
// cut into prefill and decode, nor on the number of threads. Everything here compares bits.

using namespace troupe;

namespace {

/// Restores the number of threads.
struct Threads {
  explicit Threads(int count) : before(at::get_num_threads()) { at::set_num_threads(count); }
  ~Threads() { at::set_num_threads(before); }
  int before;
};

Architecture architecture_of(int variant) {
  Architecture a = testing::small_architecture();
  if (variant == 1) {  // one key head for three query heads, odd sizes, bias, untied
    a.heads = 3;
    a.kv_heads = 1;
    a.head_size = 32;
    a.hidden = 80;
    a.intermediate = 200;
    a.vocabulary = 501;
    a.qkv_bias = true;
    a.tied_embeddings = false;
  }
  if (variant == 2) {  // head size of 64, no grouping
    a.hidden = 128;
    a.heads = a.kv_heads = 2;
    a.head_size = 64;
    a.intermediate = 352;
  }
  if (variant == 3) {  // norms of heads of an odd size, stretched positions
    a.head_size = 24;
    a.qk_norm = true;
    a.rope_scaling.kind = RopeScaling::Kind::kLinear;
    a.rope_scaling.factor = 4.0;
  }
  return a;
}

at::Tensor slice(const at::Tensor& ids, std::int64_t from, std::int64_t count) { return ids.narrow(0, from, count).clone(); }

/// The pages of slots of `slot_tokens` positions each, scattered over a cache.
class Slots {
 public:
  Slots(std::int64_t count, std::int64_t slot_tokens) : pages_(static_cast<std::size_t>(count)) {
    for (std::int64_t page = 0; page < count * pages_of(slot_tokens); ++page) {
      pages_[static_cast<std::size_t>(page % count)].push_back(static_cast<std::int32_t>(page));
    }
  }
  const std::vector<std::int32_t>& operator[](std::int64_t slot) const { return pages_[static_cast<std::size_t>(slot)]; }
  std::int64_t page_count() const { return std::ssize(pages_) * std::ssize(pages_.front()); }

 private:
  std::vector<std::vector<std::int32_t>> pages_;
};

/// Feeds each sequence to a cache: prefill cut at `cuts` (rows a call), then one token a call; several sequences at once,
/// sequence s in slot slots[s]. Returns hidden states packed as the batch is.
at::Tensor through_cache(const Transformer& model, const PackedSequences& batch, const std::vector<std::int64_t>& slots,
                         std::int64_t slot_count, const std::vector<std::int64_t>& cuts) {
  const Architecture& a = model.parameters().architecture();
  const Slots pages(slot_count, a.max_positions);
  KvCache cache(a, pages.page_count(), model.parameters().flat().scalar_type());
  at::Tensor result = at::zeros({batch.ids_T.numel(), a.hidden}, model.parameters().flat().scalar_type());
  std::vector<std::int64_t> done(slots.size(), 0);
  for (std::size_t call = 0;; ++call) {
    const std::int64_t step = call < cuts.size() ? cuts[call] : 1;
    std::vector<std::int64_t> rows;
    std::vector<CachedRun> runs;
    for (std::size_t s = 0; s < slots.size(); ++s) {
      const std::int64_t start = batch.sequence_starts[s], length = batch.sequence_starts[s + 1] - start;
      const std::int64_t tokens = std::min(step, length - done[s]);
      if (tokens == 0) continue;
      runs.push_back({done[s], tokens, 0, {}, pages[slots[s]]});
      for (std::int64_t i = 0; i < tokens; ++i) rows.push_back(start + done[s]++);
    }
    if (rows.empty()) return result;
    const at::Tensor index = at::tensor(rows, at::kLong);
    result.index_copy_(0, index, model.forward_cached(batch.ids_T.index_select(0, index), runs, cache));
  }
}

}  // namespace

TEST_SUITE("model/exact_rows") {
  TEST_CASE("a sequence alone, packed with others, prefilled in pieces and decoded gives the same bits") {
    for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
      for (const int variant : {0, 1, 2, 3}) {
        CAPTURE(c10::toString(dtype));
        CAPTURE(variant);
        const Architecture a = architecture_of(variant);
        const Transformer model(testing::random_parameters(a, dtype));
        const PackedSequences batch = testing::sequences_of({1, 15, 16, 17, 33, 70, 129, 240}, a.vocabulary);

        const at::Tensor packed = model.forward(batch, nullptr);

        for (std::size_t s = 0; s + 1 < batch.sequence_starts.size(); ++s) {
          const std::int64_t start = batch.sequence_starts[s], length = batch.sequence_starts[s + 1] - start;
          const PackedSequences alone{slice(batch.ids_T, start, length), {0, length}};
          CHECK(model.forward(alone, nullptr).equal(packed.narrow(0, start, length)));
        }
        Activations saved;
        CHECK(model.forward(batch, &saved).equal(packed));
        const std::vector<std::int64_t> in_order = {0, 1, 2, 3, 4, 5, 6, 7}, scattered = {9, 3, 0, 7, 5, 11, 2, 8};
        CHECK(through_cache(model, batch, in_order, 8, {240}).equal(packed));
        CHECK(through_cache(model, batch, scattered, 12, {1, 2, 30, 60}).equal(packed));
        CHECK(through_cache(model, batch, scattered, 12, {}).equal(packed));
      }
    }
  }

  TEST_CASE("rows have the same bits in batches of 1 to 64 rows and on 1 or 2 threads") {
    for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
      CAPTURE(c10::toString(dtype));
      const Architecture a = architecture_of(2);
      const Transformer model(testing::random_parameters(a, dtype));
      for (const std::int64_t sequences : {1, 2, 7, 16, 33, 64}) {
        CAPTURE(sequences);
        const PackedSequences batch =
            testing::sequences_of(std::vector<std::int64_t>(static_cast<std::size_t>(sequences), 20), a.vocabulary);
        std::vector<std::int64_t> slots;
        for (std::int64_t s = 0; s < sequences; ++s) slots.push_back(sequences - 1 - s);

        const at::Tensor packed = model.forward(batch, nullptr);

        for (const int threads : {1, 2}) {
          const Threads limited(threads);
          CHECK(model.forward(batch, nullptr).equal(packed));
          CHECK(through_cache(model, batch, slots, sequences, {13}).equal(packed));
        }
      }
    }
  }

  TEST_CASE("a run may read what another run of the same forward writes") {
    const Architecture a = architecture_of(0);
    const Transformer model(testing::random_parameters(a, at::kFloat));
    const PackedSequences batch = testing::sequences_of({12, 100}, a.vocabulary);
    const Slots pages(2, 128);
    KvCache cache(a, pages.page_count(), at::kFloat);
    // Both sequences in two pieces each, turn about.
    const std::vector<CachedRun> runs = {
        {0, 5, 0, {}, pages[0]}, {0, 70, 0, {}, pages[1]}, {5, 7, 0, {}, pages[0]}, {70, 30, 0, {}, pages[1]}};
    std::vector<std::int64_t> rows;
    for (const CachedRun& run : runs) {
      const std::int64_t start = run.pages.data() == pages[0].data() ? 0 : 12;
      for (std::int64_t i = 0; i < run.tokens; ++i) rows.push_back(start + run.first_position + i);
    }
    const at::Tensor index = at::tensor(rows, at::kLong);

    const at::Tensor found = model.forward_cached(batch.ids_T.index_select(0, index), runs, cache);

    CHECK(found.equal(model.forward(batch, nullptr).index_select(0, index)));
  }

  TEST_CASE("sequences read a prefix of any length that is held once, whatever the pages held before") {
    const Architecture a = architecture_of(1);
    for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
      const Transformer model(testing::random_parameters(a, dtype));
      for (const std::int64_t shared : {1, 7, 16, 63, 64, 65, 150}) {
        CAPTURE(shared);
        const PackedSequences batch = testing::sequences_of({shared + 90, shared + 90}, a.vocabulary);
        batch.ids_T.narrow(0, shared + 90, shared).copy_(batch.ids_T.narrow(0, 0, shared));
        const at::Tensor packed = model.forward(batch, nullptr);
        const Slots pages(3, 160);
        KvCache cache(a, pages.page_count(), dtype);
        cache.keys.fill_(std::nan(""));
        cache.values.fill_(std::nan(""));

        // The prefix and, in the same forward, the first sequence's next 20 tokens; then the second's; then token by token.
        std::vector<CachedRun> runs = {{0, shared, 0, {}, pages[0]}, {shared, 20, shared, pages[0], pages[1]}};
        CHECK(model.forward_cached(slice(batch.ids_T, 0, shared + 20), runs, cache).equal(packed.narrow(0, 0, shared + 20)));
        runs = {{shared, 20, shared, pages[0], pages[2]}};
        const std::int64_t second = 2 * shared + 90;
        CHECK(model.forward_cached(slice(batch.ids_T, second, 20), runs, cache).equal(packed.narrow(0, second, 20)));
        for (std::int64_t i = 20; i < 90; ++i) {
          runs = {{shared + i, 1, shared, pages[0], pages[1]}, {shared + i, 1, shared, pages[0], pages[2]}};
          const at::Tensor rows = at::tensor({shared + i, second + i}, at::kLong);
          REQUIRE(model.forward_cached(batch.ids_T.index_select(0, rows), runs, cache).equal(packed.index_select(0, rows)));
        }
      }
    }
  }

  TEST_CASE("the sampler's log-probabilities are the trainer's") {
    for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
      for (const int variant : {0, 1, 3}) {
        const Architecture a = architecture_of(variant);
        const Transformer model(testing::random_parameters(a, dtype));
        const PackedSequences batch = testing::sequences_of({5, 90, 64, 200, 31, 180}, a.vocabulary);
        const at::Tensor targets = testing::sequences_of({batch.ids_T.numel()}, a.vocabulary, 9).ids_T;
        const at::Tensor hidden = through_cache(model, batch, {5, 4, 3, 2, 1, 0}, 6, {40, 3});
        for (const double temperature : {1.0, 0.7}) {
          CAPTURE(temperature);

          const TokenLogprobs trainer = token_logprobs(model.forward(batch, nullptr), model.head_VH(), targets, temperature);

          for (std::int64_t row = 0, count = 0; row < batch.ids_T.numel(); row += count) {
            count = std::min<std::int64_t>(row % 37 + 1, batch.ids_T.numel() - row);
            const at::Tensor logits = model.logits(hidden.narrow(0, row, count));
            CHECK(logits.equal(row_logits(hidden.narrow(0, row, count), model.head_VH())));
            for (std::int64_t i = 0; i < count; ++i) {
              const float* values = logits.const_data_ptr<float>() + i * a.vocabulary;
              const float t = static_cast<float>(temperature);
              const float lse = log_sum_exp(values, a.vocabulary, t);
              const float logp = values[targets.const_data_ptr<std::int64_t>()[row + i]] / t - lse;
              CHECK(logp == trainer.logp_N.const_data_ptr<float>()[row + i]);
              CHECK(lse == trainer.lse_N.const_data_ptr<float>()[row + i]);
            }
          }
        }
      }
    }
  }

  TEST_CASE("the probe finds this machine's matrix products exact at the shapes of the recipes") {
    for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
      CHECK(rows_are_exact(256, 128, dtype));
      CHECK(rows_are_exact(104, 128, dtype));
      CHECK(rows_are_exact(256, 704, dtype));
      CHECK(rows_are_exact(1408, 256, dtype));
    }
  }
}
