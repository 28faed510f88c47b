#include <ATen/ATen.h>  // before doctest: both define CHECK, the last one counts
#include <doctest/doctest.h>

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/error.h"
#include "learner/checkpoint.h"
#include "learner/gathered_units.h"
#include "learner/lora.h"
#include "learner/stages/learner_ranks.h"
#include "learner/stages/start_model.h"
#include "learner/stages/supervised.h"
#include "learner/state_hash.h"
#include "tests/common/collective/run_ranks.h"
#include "tests/learner/temporary_folder.h"
#include "tests/learner/tiny_model.h"

// The same training by ranks that each have a model, and by ranks that hold one together.

using namespace troupe;

namespace {

Architecture architecture() {
  Architecture a = tiny_architecture();
  a.layers = 2;
  a.hidden = 32;
  a.intermediate = 48;
  a.heads = a.kv_heads = 4;
  return a;
}

SupervisedUnit numbered_unit(std::uint64_t number) {
  const auto id = static_cast<std::int32_t>(number % 7);
  return {{{1, id}, {id + 1, 3, 5}}};
}

struct Case {
  int tensor = 1;
  int data = 1;
  int stage = 1;
  std::int64_t micro_tokens = 4096;  // one micro-batch a rank
  std::string dtype = "fp32";
  std::int64_t lora_rank = 0;
};

struct End {
  std::string hash;
  std::vector<double> losses, norms;
  at::Tensor weights;
};

Config config_of(const Case& c) {
  Config config;
  config.learners.tensor_parallel = c.tensor;
  config.learners.zero_stage = c.stage;
  config.learners.device = "cpu";
  config.model.dtype = c.dtype;
  config.lora.rank = c.lora_rank;
  config.optimizer.lr = 0.01;
  config.optimizer.clip_norm = 0.5;
  config.run.steps = 4;
  return config;
}

/// What a rank trains with.
struct Rank {
  Rank(const Case& c, Communicator& communicator)
      : config(config_of(c)),
        ranks(config, communicator),
        initial(architecture(), at::kFloat),
        parameters(compute_parameters(config, architecture(), ranks)),
        model(parameters) {
    initial.flat().copy_(tiny_start(initial.layout()));
    lora = make_lora(config, initial);
    optimizer.emplace(make_optimizer(lora, parameters, initial, config, ranks.shards()));
    trainer.emplace(model, *optimizer, SupervisedOptions{5, c.micro_tokens, numbered_unit, next_token_objective(), zero_stage_of(config, ranks.all())},
                    ranks.data(), lora ? &*lora : nullptr);
  }

  Config config;
  LearnerRanks ranks;
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
  on_ranks(c.tensor * c.data, [&](Communicator& communicator) {
    Rank r(c, communicator);
    std::vector<double> losses, norms;
    for (std::int64_t step = 1; step <= 3; ++step) {
      const SupervisedStep told = r.trainer->train(step);
      CHECK(told.tokens == 25);
      losses.push_back(told.means[0]);
      norms.push_back(told.update.grad_norm);
      losses.push_back(r.trainer->evaluate(numbered_unit, 3)[0]);
    }
    const std::string hash = final_hash(*r.optimizer, {});
    const at::Tensor weights = whole_of(r.parameters, r.ranks.all());
    if (communicator.rank() == 0) end = {hash, losses, norms, weights.clone()};
  });
  return end;
}

/// `share`: of what fp32 or bf16 sums in another order may change in losses and norms; of weights Adam may make a step of lr of any change.
void check_near(const Case& c, double share) {
  CAPTURE(c.tensor);
  CAPTURE(c.data);
  CAPTURE(c.stage);
  Case alone = c;
  alone.tensor = 1;
  const End expected = end_of(alone), found = end_of(c);
  CHECK(expected.losses.back() < expected.losses.front());
  for (std::size_t i = 0; i < expected.losses.size(); ++i) CHECK(found.losses[i] == doctest::Approx(expected.losses[i]).epsilon(share));
  for (std::size_t i = 0; i < expected.norms.size(); ++i) CHECK(found.norms[i] == doctest::Approx(expected.norms[i]).epsilon(share));
  CHECK((found.weights - expected.weights).abs().mean().item<double>() < share * 0.1);
  CHECK(end_of(c).hash == found.hash);
}

/// Counts the bytes that this rank's collectives move from it to others.
class CountedRanks final : public Communicator {
 public:
  CountedRanks(Communicator& inner, std::int64_t& bytes) : inner_(inner), bytes_(bytes) {}

  int rank() const override { return inner_.rank(); }
  int size() const override { return inner_.size(); }
  void all_reduce_sum(std::span<float> data, std::string_view tensor) override {
    count(2 * data.size_bytes() / static_cast<std::size_t>(size()));
    inner_.all_reduce_sum(data, tensor);
  }
  void all_reduce_sum(std::span<double> data, std::string_view tensor) override {
    count(2 * data.size_bytes() / static_cast<std::size_t>(size()));
    inner_.all_reduce_sum(data, tensor);
  }
  void reduce_scatter_sum(std::span<const float> in, std::span<float> out, std::string_view tensor) override {
    count(out.size_bytes());
    inner_.reduce_scatter_sum(in, out, tensor);
  }
  void all_gather(std::span<const std::byte> in, std::span<std::byte> out, std::string_view tensor) override {
    count(in.size_bytes());
    inner_.all_gather(in, out, tensor);
  }
  void broadcast(std::span<std::byte> data, int root, std::string_view tensor) override { inner_.broadcast(data, root, tensor); }
  void barrier() override { inner_.barrier(); }
  void close() override { inner_.close(); }
  CollectiveProgress progress() const override { return inner_.progress(); }
  std::unique_ptr<Communicator> split(int color) override { return inner_.split(color); }
  void wait_with(const Patience* patience) override { inner_.wait_with(patience); }
  double deadline_s() const override { return inner_.deadline_s(); }

 private:
  /// `each`: what goes to one other rank.
  void count(std::size_t each) { bytes_ += static_cast<std::int64_t>(each) * (size() - 1); }

  Communicator& inner_;
  std::int64_t& bytes_;
};

/// A model whose blocks are nearly all of it.
Architecture deep() {
  Architecture a = architecture();
  a.layers = 4;
  a.hidden = 128;
  a.intermediate = 256;
  a.head_size = 32;
  return a;
}

/// Bytes that rank 0 sends in an update.
std::int64_t bytes_of_update(int tensor, int data) {
  std::int64_t bytes = 0;
  on_ranks(tensor * data, [&](Communicator& communicator) {
    const Config config = config_of({.tensor = tensor, .data = data});
    LearnerRanks ranks(config, communicator);
    std::int64_t own = 0;
    CountedRanks all(ranks.all(), own), same(ranks.data(), own);
    Parameters initial(deep(), at::kFloat);
    initialise_(initial, 1);
    const Parameters parameters = compute_parameters(config, deep(), ranks);
    ShardedOptimizer optimizer(parameters, initial.flat(), config.optimizer, 4, tensor > 1 ? ShardRanks(all, same) : ShardRanks(all));
    optimizer.step(at::ones({parameters.layout().total}, at::kFloat), 1);
    if (communicator.rank() == 0) bytes = own;
  });
  return bytes;
}

}  // namespace

TEST_SUITE("stages/tensor_parallel") {
  TEST_CASE("ranks that hold a model together train as one does, at each stage and with data of their own") {
    for (const int stage : {1, 2, 3}) {
      for (const auto& [tensor, data] : {std::pair(2, 1), std::pair(4, 1), std::pair(2, 2)}) {
        check_near({.tensor = tensor, .data = data, .stage = stage}, 2e-5);
        check_near({.tensor = tensor, .data = data, .stage = stage, .micro_tokens = 5}, 2e-5);
      }
    }
  }

  TEST_CASE("with one micro-batch a rank the stages have the same bits") {
    const End first = end_of({.tensor = 2, .data = 2});
    for (const int stage : {2, 3}) {
      const End found = end_of({.tensor = 2, .data = 2, .stage = stage});
      CHECK(found.hash == first.hash);
      CHECK(found.norms == first.norms);
      CHECK(at::equal(found.weights, first.weights));
    }
  }

  TEST_CASE("so it is with adapters, and in bf16") {
    check_near({.tensor = 2, .lora_rank = 2}, 2e-5);
    check_near({.tensor = 2, .stage = 2, .lora_rank = 2}, 2e-5);
    check_near({.tensor = 2, .data = 2, .stage = 3, .lora_rank = 2}, 2e-5);
    check_near({.tensor = 2, .dtype = "bf16"}, 2e-2);
    check_near({.tensor = 2, .data = 2, .stage = 3, .dtype = "bf16"}, 2e-2);
  }

  TEST_CASE("a run goes on with another number of ranks that hold the model, from its checkpoint") {
    const TemporaryFolder root;
    const Logger logger("test", LogLevel::kError);
    std::int64_t step = 0;
    std::string last;
    for (const Case& c : {Case{.tensor = 2}, Case{.tensor = 1, .data = 2}, Case{.tensor = 2, .data = 2, .stage = 2}, Case{.tensor = 2, .data = 2, .stage = 3}, Case{.tensor = 4},
                          Case{.tensor = 4, .stage = 3}, Case{.tensor = 2}}) {
      on_ranks(c.tensor * c.data, [&, step](Communicator& communicator) {
        Rank r(c, communicator);
        CHECK(load_newest_checkpoint(root.path(), "hash", *r.optimizer, logger).value_or(0) == step);
        const std::string found = final_hash(*r.optimizer, {});
        if (step > 0 && communicator.rank() == 0) CHECK(found == last);
        const at::Tensor weights = whole_of(r.parameters, r.ranks.all()), master = r.optimizer->gather(r.optimizer->master(), "masters");
        if (communicator.rank() == 0) CHECK(at::equal(weights, master));
        r.trainer->train(step + 1);
        save_checkpoint(root.path(), {step + 1, "hash", 0}, *r.optimizer, {});
        const std::string hash = final_hash(*r.optimizer, {});
        if (communicator.rank() == 0) last = hash;
      });
      ++step;
    }
  }

  TEST_CASE("a gradient that is not finite on one of the ranks changes nothing on any, and its tensor is named") {
    for (const int stage : {1, 2, 3}) {
      on_ranks(2, [&](Communicator& communicator) {
        Rank r({.tensor = 2, .stage = stage}, communicator);
        const at::Tensor before = r.optimizer->master().clone();
        StepGradients gradients(r.model, *r.optimizer, nullptr, stage);
        gradients.clear();
        const std::int64_t down = r.parameters.layout().find("model.layers.1.mlp.down_proj.weight").offset - r.parameters.layout().units[2];
        for (std::int64_t unit = 3; unit >= 0; --unit) {
          const at::Tensor part = gradients.unit(unit);
          if (unit == 2 && communicator.rank() == 1) part.narrow(0, down, 1).fill_(INFINITY);
          gradients.finished(unit);
        }
        const OptimizerStep told = gradients.step(1, nullptr);
        CHECK(told.skipped);
        CHECK(told.bad_tensor == "model.layers.1.mlp.down_proj.weight");
        CHECK(at::equal(r.optimizer->master(), before));
      });
    }
  }

  TEST_CASE("an update moves a rank's part alone: as much as ranks have that share it out") {
    const ParameterLayout layout(deep());
    const std::int64_t blocks = layout.units[5] - layout.units[1], norms = 4 * 2 * 128, both = 2 * sizeof(float);  // gradients, then weights
    // Padding to blocks of 1024 elements, and the norm's sums.
    const auto near = [&](std::int64_t found, std::int64_t elements) {
      CAPTURE(found);
      CHECK(found >= both * elements);
      CHECK(found <= both * (elements + norms + 12 * ShardMap::kBlock) + 65536);
    };
    const std::int64_t ends = layout.total - blocks;
    near(bytes_of_update(1, 2), blocks / 2 + ends / 2);
    near(bytes_of_update(2, 1), ends / 2);
    near(bytes_of_update(2, 2), blocks / 4 + ends * 3 / 4);
    near(bytes_of_update(4, 1), ends * 3 / 4);
  }

  TEST_CASE("what does not divide is refused by name") {
    const auto errors = run_ranks(3, 30, [](Communicator& communicator) { Rank r({.tensor = 2}, communicator); });
    CHECK(errors[0] == "learners.tensor_parallel = 2: expected a divisor of the number of learners, 3");
    const auto heads = run_ranks(8, 30, [](Communicator& communicator) { Rank r({.tensor = 8}, communicator); });
    CHECK(heads[7] == "learners.tensor_parallel = 8: expected a divisor of the model's num_attention_heads, 4");
  }
}
