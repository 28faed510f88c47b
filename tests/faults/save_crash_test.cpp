#include <ATen/Functions.h>  // before doctest: both define CHECK, the last one counts
#include <ATen/Parallel.h>
#include <doctest/doctest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <string>

#include "common/base/files.h"
#include "learner/checkpoint.h"
#include "learner/state_hash.h"
#include "tests/common/collective/run_ranks.h"
#include "tests/faults/injection.h"
#include "tests/learner/temporary_folder.h"
#include "tests/learner/tiny_model.h"

namespace troupe {
namespace {

namespace fs = std::filesystem;

/// A learner rank alone with its optimizer.
struct Saver {
  Saver() : parameters(tiny_architecture(), at::kFloat) {
    optimizer.emplace(parameters, tiny_start(parameters.layout()), OptimizerConfig(), 10, *communicator);
  }
  std::string train(std::int64_t step) {
    optimizer->step(tiny_gradient(parameters.layout(), step), step);
    return weights_digest(*optimizer).hash;
  }
  /// As a learner does it: the checkpoint, then older ones go.
  void save(const fs::path& root, std::int64_t step) {
    save_checkpoint(root, {step, "config", 0}, *optimizer, [](const fs::path& folder) {
      fs::create_directory(folder / "hf");
      write_file_atomically(folder / "hf" / "config.json", "{}");
      write_file_atomically(folder / "hf" / "model.safetensors", "weights");
    });
    retire_checkpoints(root, CheckpointConfig());
  }
  std::unique_ptr<Communicator> communicator = ThreadWorld(1, 30).communicator(0);
  Parameters parameters;
  std::optional<ShardedOptimizer> optimizer;
};

/// Runs `work` in a process of its own that dies at the nth of `points`. Whether it died there.
template <class Work>
bool dies(const std::string& points, int nth, Work work) {
  const pid_t child = fork();
  if (child == 0) {
    fault::arm(points + ":*:" + std::to_string(nth) + ":kill");
    work();
    _exit(0);
  }
  int status = 0;
  waitpid(child, &status, 0);
  CHECK((WIFEXITED(status) ? WEXITSTATUS(status) == 0 : WTERMSIG(status) == SIGKILL));
  return WIFSIGNALED(status);
}

TEST_SUITE("faults/save_crash") {
  TEST_CASE("a save that is killed at any write, fsync, rename or removal leaves the old or the new checkpoint, whole") {
    at::set_num_threads(1);
    for (const std::string points : {"file.*", "checkpoint.*"}) {
      int places = 0;
      int old = 0;
      for (bool died = true; died; ++places) {
        const TemporaryFolder root;
        Saver saver;
        std::vector<std::string> hashes = {""};
        for (std::int64_t step = 1; step <= 3; ++step) {
          hashes.push_back(saver.train(step));
          if (step < 3) saver.save(root.path(), step);
        }
        died = dies(points, places + 1, [&] { saver.save(root.path(), 3); });

        // What the next start does.
        Saver next;
        const auto step = load_newest_checkpoint(root.path(), "config", *next.optimizer, Logger("test", LogLevel::kError));
        REQUIRE(step);
        CHECK((*step == 2 || *step == 3));
        CHECK(weights_digest(*next.optimizer).hash == hashes[static_cast<std::size_t>(*step)]);
        CHECK_FALSE(fs::exists(root.path() / ("step-" + std::to_string(*step) + ".bad")));
        old += *step == 2 ? 1 : 0;
        if (!died) CHECK(*step == 3);
        next.train(4);
        next.save(root.path(), 4);
        CHECK(complete_checkpoints(root.path()).back() == 4);
        for (const auto& entry : fs::recursive_directory_iterator(root.path())) {
          CHECK(entry.path().filename().string().find(".tmp-") == std::string::npos);
        }
      }
      MESSAGE(points << ": killed at " << places - 1 << " places, " << old << " times the old checkpoint was left");
      CHECK(places > 6);
      CHECK(old > 3);
      CHECK(old < places - 1);
    }
  }
}

}  // namespace
}  // namespace troupe
