#include "learner/tensor_ranks.h"

#include <filesystem>
#include <string>
#include <vector>

#include "common/model/checkpoint_io.h"
#include "common/model/thread_ranks.h"
#include "tests/learner/tensor_testing.h"

// A model that ranks hold together against the same model on one rank.

namespace fs = std::filesystem;
using namespace troupe;
using namespace troupe::testing;

namespace {

// Each product of 16 to 96 terms is cut into two or four sums, so that fp32 rounds elsewhere, 2^-24 of the largest term each time, over two
// layers and back; measured 1.8e-6 of a tensor's largest gradient and 5e-6 of a log-probability.
constexpr double kTolerance = 2e-5;

double largest_difference(const at::Tensor& found, const at::Tensor& expected) { return (found - expected).abs().max().item<double>(); }

/// As a share of each tensor's largest gradient.
double gradient_error(const ParameterLayout& layout, const at::Tensor& found, const at::Tensor& expected) {
  double error = 0;
  for (const ParameterSpec& spec : layout.tensors) {
    const at::Tensor theirs = expected.narrow(0, spec.offset, spec.numel);
    const double largest = theirs.abs().max().item<double>();
    CHECK(largest > 0);
    error = std::max(error, largest_difference(found.narrow(0, spec.offset, spec.numel), theirs) / largest);
  }
  return error;
}

void check_close(int count, const Parameters& whole, double tolerance) {
  const Passed expected = pass_over(whole, texts_for(whole.architecture().vocabulary));
  const std::vector<Passed> found = passed_on(count, whole);

  CHECK(largest_difference(found[0].logp_N, expected.logp_N) < tolerance);
  CHECK(largest_difference(found[0].entropy_N, expected.entropy_N) < tolerance);
  CHECK(gradient_error(whole.layout(), found[0].gradients, expected.gradients) < tolerance);
  for (const Passed& rank : found) {
    CHECK(rank.logp_N.equal(found[0].logp_N));
    CHECK(rank.entropy_N.equal(found[0].entropy_N));
  }
  CHECK(passed_on(count, whole)[0].gradients.equal(found[0].gradients));
  CHECK(passed_on(count, whole, Recompute::kBlock)[0].gradients.equal(found[0].gradients));
}

}  // namespace

TEST_SUITE("learner/tensor_ranks") {
  TEST_CASE("two ranks that hold a model of each family together come to its log-probabilities and gradients") {
    for (const char* name : {"llama", "llama3_rope", "yarn_rope", "qwen2", "qwen2_5_yarn", "qwen3", "qwen3_untied"}) {
      CAPTURE(name);
      check_close(2, load_parameters(fs::path(TROUPE_TEST_DATA) / "parity/families" / name, at::kFloat), kTolerance);
    }
  }

  TEST_CASE("so do four") {
    for (const char* family : {"llama", "qwen2", "qwen3"}) {
      CAPTURE(family);
      Architecture a = small_architecture();
      a.kv_heads = 4;
      a.qkv_bias = family == std::string("qwen2");
      a.qk_norm = family == std::string("qwen3");
      a.tied_embeddings = a.qk_norm;
      check_close(4, random_parameters(a, at::kFloat), kTolerance);
    }
  }

  TEST_CASE("in bf16 what a rank computes is rounded before the sum or after it, once") {
    const Parameters whole = random_parameters(small_architecture(), at::kBFloat16);
    const Passed expected = pass_over(whole, texts_for(whole.architecture().vocabulary));

    const std::vector<Passed> found = passed_on(2, whole);

    // bf16 has 8 bits: a row of 64 products over two layers is off by a few 2^-9 of what it is; measured 0.02 of logits of up to 8.
    CHECK(largest_difference(found[0].logp_N, expected.logp_N) < 0.1);
    const double far = (found[0].gradients - expected.gradients).norm().item<double>() / expected.gradients.norm().item<double>();
    CHECK(far < 0.05);
    CHECK(found[1].logp_N.equal(found[0].logp_N));
  }

  TEST_CASE("threads that hold a model together, as an actor's do, come to the same bits") {
    for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
      Architecture a = small_architecture();
      a.kv_heads = 4;
      const Parameters whole = random_parameters(a, dtype);
      for (const int count : {2, 4}) {
        const Passed expected = passed_on(count, whole)[0];
        ThreadRanks ranks(count);
        ranks.run([&](int rank) {
          const Parameters part(std::make_shared<TensorCut>(a, ranks.group(rank)), dtype);
          for (std::int64_t unit = 0; unit + 1 < std::ssize(whole.layout().units); ++unit) part.set_unit_(unit, whole.unit(unit));
          const Passed found = pass_over(part, texts_for(a.vocabulary));
          CHECK(found.logp_N.equal(expected.logp_N));
          CHECK(found.entropy_N.equal(expected.entropy_N));
        });
      }
    }
  }

  TEST_CASE("no rows are no rows on every rank") {
    const Parameters whole = random_parameters(small_architecture(), at::kFloat);
    const auto errors = run_ranks(2, 30, [&](Communicator& ranks) {
      const Parameters part = part_of_model(whole, ranks);
      const Passed passed = pass_over(part, {});
      CHECK(passed.logp_N.numel() == 0);
      CHECK(passed.gradients.abs().max().item<float>() == 0);
    });
    for (const std::string& error : errors) CHECK(error == "");
  }

  TEST_CASE("rank 0 puts the whole model together, bit for bit") {
    for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
      const Parameters whole = random_parameters(small_architecture(), dtype);
      const auto errors = run_ranks(4, 30, [&](Communicator& ranks) {
        const auto group = ranks.split(ranks.rank() / 2);
        const Parameters part = part_of_model(whole, *group);
        const at::Tensor again = whole_of(part, ranks);
        CHECK(again.defined() == (ranks.rank() == 0));
        if (again.defined()) CHECK(again.equal(whole.flat()));
      });
      for (const std::string& error : errors) CHECK(error == "");
    }
  }

  TEST_CASE("a rank that leaves in a pass ends the other with its name and what they did") {
    const Parameters whole = random_parameters(small_architecture(), at::kFloat);
    const auto errors = run_ranks(2, 30, [&](Communicator& ranks) {
      const Parameters part = part_of_model(whole, ranks);
      if (ranks.rank() == 1) return;
      pass_over(part, texts_for(whole.architecture().vocabulary));
    });
    CHECK(errors[0].starts_with("learner rank 0 of 2: all_reduce_sum of rows of a model that ranks hold together, sequence 1: nothing from "
                                "rank 1 and nothing will come"));
  }
}
