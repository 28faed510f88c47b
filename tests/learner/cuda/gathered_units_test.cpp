#include "learner/gathered_units.h"

#include "common/model/compute_device.h"
#include "tests/learner/tensor_testing.h"

using namespace troupe;
using namespace troupe::testing;

namespace {

/// Ranks take the GPUs in turn: on a machine with one the two of a test share it, and gather over the CPU.
at::Device gpu_of(int rank) { return compute_device("cuda", "test", at::kBFloat16, rank); }

}  // namespace

TEST_SUITE("learner/cuda/gathered_units") {
  TEST_CASE("parameters that are gathered a unit at a time give the bits of whole ones, whatever is computed again") {
    for (const bool tied : {false, true}) {
      for (const Recompute recompute : {Recompute::kNone, Recompute::kActivations, Recompute::kBlock}) {
        CAPTURE(tied);
        Architecture a = small_architecture();
        a.layers = 3;
        a.tied_embeddings = tied;
        a.qkv_bias = tied;
        a.qk_norm = !tied;
        const Parameters whole = random_parameters(a, at::kBFloat16);
        const auto texts = texts_for(a.vocabulary);
        const Passed expected = pass_over(whole.on(gpu_of(0)), texts, recompute);
        for (const std::string& error : run_ranks(2, 60, [&](Communicator& ranks) {
               const Parameters sharded = sharded_parameters(a, at::kBFloat16, ranks, gpu_of(ranks.rank()));
               set_from_whole_(sharded, whole.flat(), ranks);
               for (int turn = 0; turn < 2; ++turn) {
                 const Passed found = pass_over(sharded, texts, recompute);
                 CHECK(found.logp_N.equal(expected.logp_N));
                 CHECK(found.gradients.equal(expected.gradients));
               }
               // One has nothing to train, and changed weights are gathered anew.
               sharded.flat().mul_(2);
               const bool idle = ranks.rank() == 1;
               const Passed other = pass_over(sharded, idle ? std::vector<std::vector<std::int32_t>>() : texts, recompute);
               CHECK(other.logp_N.equal(expected.logp_N) == false);
               CHECK((other.gradients.count_nonzero().item<std::int64_t>() == 0) == idle);
               const at::Tensor again = whole_of(sharded, ranks);
               if (!idle) CHECK(again.equal(whole.flat() * 2));
             })) {
          CHECK(error == "");
        }
      }
    }
  }
}
