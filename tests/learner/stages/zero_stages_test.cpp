#include <ATen/Functions.h>  // before doctest: both define CHECK, the last one counts
#include <doctest/doctest.h>

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "common/collective/collective_queue.h"
#include "learner/checkpoint.h"
#include "learner/gathered_units.h"
#include "learner/lora.h"
#include "learner/stages/supervised.h"
#include "learner/state_hash.h"
#include "tests/common/collective/run_ranks.h"
#include "tests/learner/temporary_folder.h"
#include "tests/learner/tiny_model.h"

// The same training at each ZeRO stage.

using namespace troupe;

namespace {

Architecture architecture(bool tied) {
  Architecture a = tiny_architecture();
  a.layers = 3;
  a.hidden = 32;
  a.intermediate = 32;
  a.head_size = 16;
  a.tied_embeddings = tied;
  return a;
}

SupervisedUnit numbered_unit(std::uint64_t number) {
  const auto id = static_cast<std::int32_t>(number % 7);
  return {{{1, id}, {id + 1, 3, 5}}};
}

struct Case {
  int stage = 1;
  int ranks = 2;
  std::int64_t units = 5;            // a step
  std::int64_t micro_tokens = 4096;  // one micro-batch a rank
  bool tied = false;
  at::ScalarType dtype = at::kFloat;
  std::int64_t lora_rank = 0;
  Recompute recompute = Recompute::kNone;
};

struct End {
  std::string hash;
  std::vector<double> losses, norms;
  at::Tensor weights;
};

/// What a rank trains with.
struct Rank {
  Rank(const Case& c, Communicator& communicator)
      : queue(c.stage > 1 ? std::make_unique<CollectiveQueue>(communicator) : nullptr),
        ranks(queue ? *queue : communicator),
        initial(architecture(c.tied), at::kFloat),
        parameters(c.stage == 3 ? sharded_parameters(architecture(c.tied), c.dtype, ranks) : Parameters(architecture(c.tied), c.dtype)),
        model(parameters) {
    initial.flat().copy_(tiny_start(initial.layout()));
    config.lora.rank = c.lora_rank;
    config.optimizer.lr = 0.01;
    config.optimizer.clip_norm = 0.5;
    config.run.steps = 4;
    lora = make_lora(config, initial);
    optimizer.emplace(make_optimizer(lora, parameters, initial, config, ranks));
    trainer.emplace(model, *optimizer, SupervisedOptions{c.units, c.micro_tokens, numbered_unit, next_token_objective(), c.stage, c.recompute},
                    ranks, lora ? &*lora : nullptr);
  }

  std::unique_ptr<Communicator> queue;
  Communicator& ranks;
  Config config;
  Parameters initial, parameters;
  Transformer model;
  std::optional<LoraAdapters> lora;
  std::optional<ShardedOptimizer> optimizer;
  std::optional<SupervisedTrainer> trainer;
};

void on_ranks(int size, const std::function<void(Communicator&)>& body) {
  for (const std::string& error : run_ranks(size, 30, body)) CHECK(error == "");
}

End end_of(const Case& c) {
  End end;
  on_ranks(c.ranks, [&](Communicator& communicator) {
    Rank r(c, communicator);
    std::vector<double> losses, norms;
    for (std::int64_t step = 1; step <= 3; ++step) {
      const SupervisedStep told = r.trainer->train(step);
      losses.push_back(told.means[0]);
      norms.push_back(told.update.grad_norm);
      losses.push_back(r.trainer->evaluate(numbered_unit, 3)[0]);
    }
    const std::string hash = final_hash(*r.optimizer, {});
    const at::Tensor weights = whole_of(r.parameters, r.ranks);
    if (communicator.rank() == 0) end = {hash, losses, norms, weights.clone()};
  });
  return end;
}

void check_same(const Case& c, const End& expected) {
  for (const int stage : {2, 3}) {
    CAPTURE(stage);
    Case other = c;
    other.stage = stage;
    const End found = end_of(other);
    CHECK(found.hash == expected.hash);
    CHECK(found.losses == expected.losses);
    CHECK(found.norms == expected.norms);
    CHECK(at::equal(found.weights, expected.weights));
  }
}

}  // namespace

TEST_SUITE("stages/zero_stages") {
  TEST_CASE("every stage ends in the same bits on two, three and four ranks, also where some have nothing to train") {
    for (const int ranks : {2, 3, 4}) {
      for (const bool tied : {false, true}) {
        CAPTURE(ranks);
        CAPTURE(tied);
        const Case c{.ranks = ranks, .units = 3, .tied = tied};
        const End expected = end_of(c);
        CHECK(expected.losses.back() < expected.losses.front());
        check_same(c, expected);
      }
    }
  }

  TEST_CASE("so it is in bf16, and where blocks are computed again") {
    check_same({.dtype = at::kBFloat16}, end_of({.dtype = at::kBFloat16}));
    const Case again{.dtype = at::kBFloat16, .recompute = Recompute::kBlock};
    CHECK(end_of(again).hash == end_of({.dtype = at::kBFloat16}).hash);
    check_same(again, end_of(again));
  }

  TEST_CASE("so it is with adapters") {
    const Case c{.lora_rank = 2};
    const End expected = end_of(c);
    CHECK(expected.hash != end_of({}).hash);
    check_same(c, expected);
  }

  TEST_CASE("of several micro-batches the sums are in another order, the same at stages 2 and 3") {
    const Case c{.micro_tokens = 5};
    const End first = end_of(c);
    Case second = c, third = c;
    second.stage = 2;
    third.stage = 3;
    const End expected = end_of(second), found = end_of(third);

    CHECK(found.hash == expected.hash);
    CHECK(expected.losses.front() == first.losses.front());
    // Sums of 3 terms in another order, 2^-24 each; Adam divides by their root mean square, so weights may move by a share of lr.
    CHECK(expected.norms.front() == doctest::Approx(first.norms.front()).epsilon(1e-6));
    CHECK(at::allclose(expected.weights, first.weights, 0, 3 * 0.01));
  }

  TEST_CASE("a run goes on at another stage, on another number of ranks, from its checkpoint") {
    const End straight = end_of({.ranks = 2, .units = 2});
    const TemporaryFolder root;
    const Logger logger("test", LogLevel::kError);
    std::int64_t step = 0;
    for (const int stage : {3, 1, 2}) {
      on_ranks(2, [&, step](Communicator& communicator) {
        Rank r({.stage = stage, .units = 2}, communicator);
        CHECK(load_newest_checkpoint(root.path(), "hash", *r.optimizer, logger).value_or(0) == step);
        r.trainer->train(step + 1);
        save_checkpoint(root.path(), {step + 1, "hash", 0}, *r.optimizer, {});
      });
      ++step;
    }
    for (const int ranks : {1, 2, 4}) {
      on_ranks(ranks, [&](Communicator& communicator) {
        Rank r({.stage = ranks == 1 ? 1 : 3}, communicator);
        CHECK(load_newest_checkpoint(root.path(), "hash", *r.optimizer, logger) == 3);
        const std::string hash = final_hash(*r.optimizer, {});
        const at::Tensor weights = whole_of(r.parameters, r.ranks);
        if (communicator.rank() > 0) return;
        CHECK(hash == straight.hash);
        CHECK(at::equal(weights, straight.weights));
      });
    }
  }

  TEST_CASE("a whole copy, as of a reference that lies elsewhere, is made of slices, and slices of slices") {
    for (const bool tied : {false, true}) {
      on_ranks(3, [&](Communicator& communicator) {
        Rank r({.stage = 3, .tied = tied}, communicator);
        const Parameters whole(architecture(tied), at::kFloat), slices = sharded_parameters(architecture(tied), at::kFloat, r.ranks);
        copy_(r.parameters, whole);
        CHECK(at::equal(whole.flat(), r.initial.flat()));
        copy_(r.parameters, slices);
        CHECK(at::equal(slices.flat(), r.parameters.flat()));
      });
    }
  }

  TEST_CASE("a gradient that is not finite changes nothing at any stage, and its tensor is named") {
    for (const int stage : {1, 2, 3}) {
      CAPTURE(stage);
      on_ranks(2, [&](Communicator& communicator) {
        Rank r({.stage = stage}, communicator);
        const at::Tensor before = r.optimizer->master().clone();
        StepGradients gradients(r.model, *r.optimizer, nullptr, stage);
        gradients.clear();
        for (std::int64_t unit = 4; unit >= 0; --unit) {
          const at::Tensor part = gradients.unit(unit).fill_(0.5);
          if (unit == 2 && communicator.rank() == 1) part.narrow(0, 5, 1).fill_(INFINITY);
          gradients.finished(unit);
        }
        const OptimizerStep told = gradients.step(1, nullptr);
        CHECK(told.skipped);
        CHECK(told.bad_tensor == "model.layers.1.input_layernorm.weight");
        CHECK(at::equal(r.optimizer->master(), before));
      });
    }
  }
}
