#include "learner/checkpoint.h"

#include <ATen/Functions.h>  // before doctest: both define CHECK, the last one counts
#include <doctest/doctest.h>

#include <array>
#include <cmath>
#include <random>

#include "common/base/error.h"
#include "learner/state_hash.h"
#include "tests/common/collective/run_ranks.h"
#include "tests/learner/temporary_folder.h"
#include "tests/learner/tiny_model.h"

using namespace troupe;
namespace fs = std::filesystem;

namespace {

const char* const kConfigHash = "0123456789abcdef";

struct Rank {
  explicit Rank(Communicator& communicator, const Architecture& architecture = tiny_architecture())
      : parameters(architecture, at::kBFloat16),
        optimizer(parameters, tiny_start(parameters.layout()), OptimizerConfig(), 10, communicator) {}

  void train(std::int64_t first, std::int64_t last) {
    for (std::int64_t step = first; step <= last; ++step) {
      const at::Tensor gradient = tiny_gradient(parameters.layout(), step);
      optimizer.step(optimizer.communicator().rank() == 0 ? gradient : at::zeros_like(gradient), step);
    }
  }
  void save(const fs::path& root, std::int64_t step, const std::function<void(const fs::path&)>& more = {}) {
    save_checkpoint(root, {step, kConfigHash, 77}, optimizer, more);
  }
  std::optional<std::int64_t> load(const fs::path& root, const std::string& config_hash = kConfigHash) {
    return load_newest_checkpoint(root, config_hash, optimizer, Logger("test", LogLevel::kError));
  }

  Parameters parameters;
  ShardedOptimizer optimizer;
};

void on_ranks(int size, const std::function<void(Communicator&)>& body) {
  for (const std::string& error : run_ranks(size, 30, body)) CHECK(error == "");
}

/// final_hash and the parameters of an uninterrupted run of `steps` steps.
std::pair<std::string, at::Tensor> straight_run(std::int64_t steps) {
  std::pair<std::string, at::Tensor> end;
  on_ranks(1, [&](Communicator& ranks) {
    Rank r(ranks);
    r.train(1, steps);
    end = {final_hash(r.optimizer, {}), r.parameters.flat().clone()};
  });
  return end;
}

void export_something(const fs::path& folder) {
  put_file(folder / "hf" / "config.json", "{\"a\": 1}");
  put_file(folder / "hf" / "deep" / "model.safetensors", "weights");
}

std::vector<fs::path> files_in(const fs::path& folder) {
  std::vector<fs::path> files;
  for (const auto& entry : fs::recursive_directory_iterator(folder)) {
    if (entry.is_regular_file()) files.push_back(entry.path());
  }
  std::sort(files.begin(), files.end());
  return files;
}

bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

}  // namespace

TEST_SUITE("learner/checkpoint") {
  TEST_CASE("a run cut into pieces of two, three and one ranks ends in the bits of an uninterrupted one") {
    const TemporaryFolder root;
    const auto [hash, flat] = straight_run(6);

    std::int64_t step = 0;
    for (const int size : {2, 3, 1}) {
      on_ranks(size, [&, step](Communicator& ranks) {
        Rank r(ranks);
        CHECK(r.load(root.path()).value_or(0) == step);
        CHECK(r.optimizer.updates() == step);
        r.train(step + 1, step + 2);
        r.save(root.path(), step + 2, export_something);
      });
      step += 2;
    }
    on_ranks(3, [&](Communicator& ranks) {
      Rank r(ranks);
      CHECK(r.load(root.path()) == 6);
      CHECK(at::equal(r.parameters.flat(), flat));
      const std::string got = final_hash(r.optimizer, {});
      if (ranks.rank() == 0) CHECK(got == hash);
    });
  }

  TEST_CASE("a checkpoint has its shards, what was exported, a manifest and DONE, and nothing beside it") {
    const TemporaryFolder root;
    on_ranks(2, [&](Communicator& ranks) {
      Rank r(ranks);
      r.train(1, 1);
      r.save(root.path(), 1, export_something);
    });

    const fs::path folder = root.path() / "step-1";
    const CheckpointManifest manifest = read_manifest(folder);
    CHECK(std::distance(fs::directory_iterator(root.path()), fs::directory_iterator()) == 1);
    CHECK(files_in(folder) == std::vector<fs::path>{folder / "DONE", folder / "MANIFEST.json",
                                                    folder / "hf" / "config.json",
                                                    folder / "hf" / "deep" / "model.safetensors",
                                                    folder / "shard-0-of-2.bin", folder / "shard-1-of-2.bin"});
    CHECK(manifest.files.size() == 4);
    CHECK(manifest.step == 1);
    CHECK(manifest.updates == 1);
    CHECK(manifest.world_size == 2);
    CHECK(manifest.ledger_bytes == 77);
    CHECK(manifest.config_hash == kConfigHash);
    CHECK(!find_damage(folder));
  }

  TEST_CASE("every single flipped bit is found, in whatever file") {
    const TemporaryFolder root;
    on_ranks(2, [&](Communicator& ranks) { Rank(ranks).save(root.path(), 3, export_something); });
    const fs::path folder = root.path() / "step-3";
    const std::vector<fs::path> files = files_in(folder);
    std::mt19937 random(20261122);

    int found = 0;
    for (int i = 0; i < 300; ++i) {
      const fs::path& file = files[random() % files.size()];
      const std::size_t offset = random() % fs::file_size(file);
      const unsigned bit = random() % 8;
      flip_bit(file, offset, bit);
      const auto damage = find_damage(folder);
      found += damage && (contains(*damage, file.string()) || file.filename() == "DONE");
      flip_bit(file, offset, bit);
    }

    CHECK(found == 300);
    CHECK(!find_damage(folder));
  }

  TEST_CASE("a damaged newest checkpoint is set aside and the one before it is loaded") {
    const TemporaryFolder root;
    on_ranks(2, [&](Communicator& ranks) {
      Rank r(ranks);
      for (std::int64_t step = 1; step <= 3; ++step) {
        r.train(step, step);
        r.save(root.path(), step);
      }
    });
    flip_bit(root.path() / "step-3" / "shard-1-of-2.bin", 100, 4);

    on_ranks(2, [&](Communicator& ranks) {
      Rank r(ranks);
      CHECK(r.load(root.path()) == 2);
      CHECK(r.optimizer.updates() == 2);
    });
    CHECK(fs::exists(root.path() / "step-3.bad"));
  }

  TEST_CASE("a failed save fails on every rank, leaves nothing behind and can be repeated") {
    const TemporaryFolder root;
    const auto errors = run_ranks(2, 30, [&](Communicator& ranks) {
      Rank r(ranks);
      r.save(root.path(), 1);
      std::string message;
      try {
        r.save(root.path(), 2, [](const fs::path&) { throw TransportError("No space left on device"); });
      } catch (const TransportError& error) {
        message = error.what();
      }
      CHECK(message == (ranks.rank() == 0 ? "No space left on device"
                                          : "checkpoint of step 2: learner rank 0: No space left on device"));
      ranks.barrier();
      CHECK(complete_checkpoints(root.path()) == std::vector<std::int64_t>{1});
      CHECK(std::distance(fs::directory_iterator(root.path()), fs::directory_iterator()) == 1);
      ranks.barrier();
      r.save(root.path(), 2);
      CHECK(complete_checkpoints(root.path()) == std::vector<std::int64_t>{1, 2});
    });

    CHECK(errors == std::vector<std::string>(2));
  }

  TEST_CASE("a state that is not finite never becomes a checkpoint") {
    const TemporaryFolder root;
    const ShardMap::Piece piece = Rank(*ThreadWorld(2, 1).communicator(0)).optimizer.map().pieces(1).front();
    for (int vector = 0; vector < 3; ++vector) {
      const auto errors = run_ranks(2, 30, [&](Communicator& ranks) {
        Rank r(ranks);
        std::array<at::Tensor, 3> state = {r.optimizer.master().clone(), r.optimizer.exp_avg().clone(),
                                           r.optimizer.exp_avg_sq().clone()};
        if (ranks.rank() == 1) state[static_cast<std::size_t>(vector)].narrow(0, piece.place + 3, 1).fill_(std::nanf(""));
        r.optimizer.restore(state[0], state[1], state[2], 1);
        r.save(root.path(), 1);
      });

      const std::string kind = std::array{"parameter", "first moment", "second moment"}[static_cast<std::size_t>(vector)];
      CHECK(contains(errors[1], "no checkpoint is written: the " + kind + " of model."));
      CHECK(contains(errors[1], "at element " + std::to_string(piece.begin + 3)));
      CHECK(contains(errors[0], "learner rank 1: no checkpoint is written"));
    }
    CHECK(complete_checkpoints(root.path()).empty());
  }

  TEST_CASE("a folder that cannot be written ends the save on every rank with the reason") {
    const TemporaryFolder root;
    put_file(root.path() / "file", "");

    const auto errors =
        run_ranks(2, 30, [&](Communicator& ranks) { Rank(ranks).save(root.path() / "file" / "checkpoints", 1); });

    CHECK(contains(errors[0], "Not a directory"));
    CHECK(contains(errors[1], "learner rank 0: "));
    CHECK(contains(errors[1], "Not a directory"));
  }

  TEST_CASE("a checkpoint of the same step is replaced") {
    const TemporaryFolder root;
    on_ranks(1, [&](Communicator& ranks) {
      Rank r(ranks);
      r.save(root.path(), 4);
      r.train(1, 1);
      r.save(root.path(), 4);
    });

    CHECK(read_manifest(root.path() / "step-4").updates == 1);
    CHECK(std::distance(fs::directory_iterator(root.path()), fs::directory_iterator()) == 1);
  }

  TEST_CASE("another configuration and another model are refused by name") {
    const TemporaryFolder root;
    on_ranks(2, [&](Communicator& ranks) { Rank(ranks).save(root.path(), 1); });
    Architecture other = tiny_architecture();
    other.intermediate = 32;

    const auto hash = run_ranks(2, 30, [&](Communicator& ranks) { Rank(ranks).load(root.path(), "fedcba"); });
    const auto model = run_ranks(1, 30, [&](Communicator& ranks) { Rank(ranks, other).load(root.path()); });

    CHECK(hash[0] == (root.path() / "step-1").string() +
                         " was written under another configuration (hash 0123456789abcdef, now fedcba)");
    CHECK(hash[1] == hash[0]);
    CHECK(contains(model[0],
                   "step-1 is of another model: tensor 10: expected model.layers.0.mlp.gate_proj.weight [32, 16]"));
    CHECK(contains(model[0], "found model.layers.0.mlp.gate_proj.weight [24, 16]"));
  }

  TEST_CASE("a step asked for by number must verify") {
    const TemporaryFolder root;
    on_ranks(1, [&](Communicator& ranks) {
      Rank r(ranks);
      r.train(1, 1);
      r.save(root.path(), 1);
      r.train(2, 2);
      r.save(root.path(), 2);
      load_checkpoint(root.path(), 1, kConfigHash, r.optimizer);
      CHECK(r.optimizer.updates() == 1);

      flip_bit(root.path() / "step-2" / "shard-0-of-1.bin", 9000, 1);
      CHECK_THROWS_AS(load_checkpoint(root.path(), 2, kConfigHash, r.optimizer), ConfigError);
      CHECK_THROWS_AS(load_checkpoint(root.path(), 5, kConfigHash, r.optimizer), ConfigError);
      CHECK(r.optimizer.updates() == 1);
    });
  }

  TEST_CASE("no checkpoint is nothing to load") {
    const TemporaryFolder root;
    on_ranks(2, [&](Communicator& ranks) { CHECK(!Rank(ranks).load(root.path() / "none")); });
  }
}
