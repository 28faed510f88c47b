#include "common/model/packed_rows.h"

#include <filesystem>
#include <string>

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <doctest/doctest.h>

#include "common/base/error.h"
#include "common/model/checkpoint_io.h"
#include "tests/common/model/golden_model.h"

// Texts that share their prompts beside the same texts packed one by one.

using namespace troupe;

namespace {

using Ids = std::vector<std::int32_t>;
using Numbers = std::vector<std::int64_t>;

Numbers numbers(const at::Tensor& tensor) {
  return {tensor.const_data_ptr<std::int64_t>(), tensor.const_data_ptr<std::int64_t>() + tensor.numel()};
}

PackedRows pack(const std::vector<TextRows>& texts, bool share) { return pack_rows(texts, share, at::kCPU); }

/// Groups of completions behind prompts of several lengths; the lengths of neither are multiples of the blocks of keys.
struct Groups {
  std::vector<Ids> ids;
  std::vector<TextRows> texts;

  explicit Groups(std::int64_t vocabulary) {
    std::uint64_t state = 7;
    const auto next = [&] {
      state = state * 6364136223846793005u + 1442695040888963407u;
      return static_cast<std::int32_t>(static_cast<std::int64_t>(state >> 33) % vocabulary);
    };
    ids.reserve(20);  // spans into it stay valid
    for (const std::int64_t prompt : {1, 16, 23, 70}) {
      const std::size_t group = ids.size();
      for (const std::int64_t own : {0, 1, 7, 18, 40}) {
        Ids& text = ids.emplace_back();
        for (std::int64_t i = 0; i < prompt + own; ++i) text.push_back(next());
        std::copy_n(ids[group].begin(), prompt, text.begin());
        texts.push_back({text, prompt - 1});
      }
    }
  }
};

struct Computed {
  at::Tensor hidden, gradients;
  std::int64_t rows;
};

Computed compute(const Transformer& model, const Groups& groups, bool share, Recompute recompute = Recompute::kNone) {
  const PackedRows packed = pack(groups.texts, share);
  Activations saved;
  saved.recompute = recompute;
  Computed result{model.forward(packed.sequences, &saved).index_select(0, packed.rows_N), {}, packed.sequences.ids_T.numel()};
  CHECK(model.forward(packed.sequences, nullptr).index_select(0, packed.rows_N).equal(result.hidden));
  const at::Tensor grad = at::arange(result.hidden.numel(), at::kFloat).mul_(0.7).sin_().view_as(result.hidden).to(result.hidden.scalar_type());
  result.gradients = at::zeros({model.parameters().layout().total}, at::kFloat);
  model.backward(packed.sequences, saved, packed.gradient(grad), result.gradients);
  return result;
}

Transformer family(const std::string& name, at::ScalarType dtype) {
  return Transformer(load_parameters(std::filesystem::path(TROUPE_TEST_DATA) / "parity/families" / name, dtype));
}

constexpr const char* kFamilies[] = {"llama", "llama3_rope",  "linear_rope", "yarn_rope",    "smollm2",
                                     "qwen2", "qwen2_5_yarn", "qwen3",       "qwen3_untied", "odd_sizes"};

}  // namespace

TEST_SUITE("model/packed_rows") {
  TEST_CASE("neighbours of one prompt read it once, each text's rows from the prompt's last on are used") {
    const Ids a = {5, 6, 1, 2}, b = {5, 6, 3}, c = {5, 7, 4, 8}, d = {5, 7};
    const std::vector<TextRows> texts = {{a, 1}, {b, 1}, {c, 1}, {d, 1}};

    const PackedRows packed = pack(texts, true);

    CHECK(numbers(packed.sequences.ids_T) == Numbers{5, 6, 1, 2, 3, 5, 7, 4, 8});
    CHECK(packed.sequences.sequence_starts == Numbers{0, 2, 4, 5, 7, 9});
    CHECK(packed.sequences.prefixes == Numbers{-1, 0, 0, -1, 3});
    CHECK(numbers(packed.rows_N) == Numbers{1, 2, 3, 1, 4, 6, 7, 8, 6});
    CHECK(packed.shared);
  }

  TEST_CASE("texts that differ up to their first used row, or in where it is, share nothing; nor does anything unasked") {
    const Ids a = {5, 6, 1}, b = {6, 6, 1}, c = {6, 6, 1, 2};
    const std::vector<TextRows> different = {{a, 1}, {b, 1}, {c, 2}}, same = {{b, 1}, {b, 1}};

    for (const PackedRows& packed : {pack(different, true), pack(different, false)}) {
      CHECK(numbers(packed.sequences.ids_T) == Numbers{5, 6, 1, 6, 6, 1, 6, 6, 1, 2});
      CHECK(packed.sequences.sequence_starts == Numbers{0, 3, 6, 10});
      CHECK(packed.sequences.prefixes.empty());
      CHECK(numbers(packed.rows_N) == Numbers{1, 2, 4, 5, 8, 9});
      CHECK_FALSE(packed.shared);
    }
    CHECK(pack(same, false).sequences.ids_T.numel() == 6);
    CHECK(pack(same, true).sequences.ids_T.numel() == 4);
    CHECK(pack({}, true).sequences.sequence_starts == Numbers{0});
    CHECK_THROWS_AS(pack({{a, 3}}, true), InternalError);
    CHECK_THROWS_AS(pack({{a, -1}}, true), InternalError);
  }

  TEST_CASE("a shared row's gradient is the sum of its texts', also where they are nothing but the prompt") {
    const Ids a = {5, 6, 1}, b = {5, 6};
    const at::Tensor grad = at::tensor({1.0, 2.0, 4.0, 8.0, 16.0, 32.0}).view({3, 2}).to(at::kBFloat16);

    const at::Tensor some = pack({{a, 1}, {b, 1}}, true).gradient(grad);
    const at::Tensor all = pack({{b, 1}, {b, 1}, {b, 1}}, true).gradient(grad);
    const at::Tensor none = pack({{a, 0}}, false).gradient(grad);

    CHECK((some.scalar_type() == at::kBFloat16));
    CHECK(some.to(at::kDouble).equal(at::tensor({0.0, 0.0, 17.0, 34.0, 4.0, 8.0}, at::kDouble).view({3, 2})));
    CHECK(all.to(at::kDouble).equal(at::tensor({0.0, 0.0, 21.0, 42.0}, at::kDouble).view({2, 2})));
    CHECK(none.equal(grad));
  }

  TEST_CASE("in each family rows behind a shared prompt have the bits that they have behind one of their own") {
    for (const char* name : kFamilies) {
      for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
        CAPTURE(name);
        CAPTURE(c10::toString(dtype));
        const Transformer model = family(name, dtype);
        const Groups groups(model.parameters().architecture().vocabulary);

        const Computed plain = compute(model, groups, false), shared = compute(model, groups, true);

        CHECK(plain.rows == 5 * (1 + 16 + 23 + 70) + 4 * 66);
        CHECK(shared.rows == 1 + 16 + 23 + 70 + 4 * 66);
        CHECK(shared.hidden.equal(plain.hidden));
        for (const ParameterSpec& spec : model.parameters().layout().tensors) {
          CAPTURE(spec.name);
          const auto part = [&](const Computed& from) { return from.gradients.narrow(0, spec.offset, spec.numel); };
          // The sums have the same terms in another order; where the model computes a prompt once, five gradients are added before they
          // are rounded on their way down instead of behind it. Some 20 roundings of 2^-24, or ten of 2^-9, in a row, of random signs.
          const double off = (part(shared) - part(plain)).norm().item<double>(), whole = part(plain).norm().item<double>();
          CHECK(off <= (dtype == at::kFloat ? 2e-6 : 0.02) * whole);
          CHECK((whole > 0) == (spec.name != "lm_head.weight"));  // nothing of the loss goes through that
        }
      }
    }
  }

  TEST_CASE("what is computed again behind shared prompts, and on other threads, has the bits that it had") {
    for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
      const Transformer model = family("qwen3", dtype);
      const Groups groups(model.parameters().architecture().vocabulary);
      const Computed kept = compute(model, groups, true);
      for (const Recompute recompute : {Recompute::kActivations, Recompute::kBlock}) {
        const Computed again = compute(model, groups, true, recompute);
        CHECK(again.hidden.equal(kept.hidden));
        CHECK(again.gradients.equal(kept.gradients));
      }
      const int threads = at::get_num_threads();
      at::set_num_threads(threads == 1 ? 2 : 1);
      CHECK(compute(model, groups, true).gradients.equal(kept.gradients));
      at::set_num_threads(threads);
    }
  }

  TEST_CASE("a prefix that is no earlier sequence without a prefix is a bug") {
    const Transformer model = family("llama", at::kFloat);
    const at::Tensor ids = at::tensor({1, 2, 3}, at::kLong);

    CHECK_NOTHROW(model.forward({ids, {0, 1, 2, 3}, {-1, 0, 0}}, nullptr));
    for (const Numbers& prefixes : {Numbers{-1, 0, 1}, Numbers{-1, 1, 0}, Numbers{-1, 2, -1}, Numbers{-2, -1, -1}, Numbers{-1, 0}}) {
      CHECK_THROWS_AS(model.forward({ids, {0, 1, 2, 3}, prefixes}, nullptr), InternalError);
    }
  }
}
