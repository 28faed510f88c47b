#include "learner/hub/leftovers.h"

#include <doctest/doctest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <filesystem>

#include "common/base/clock.h"
#include "tests/common/rollout_log/scratch_folder.h"

namespace troupe::test {
namespace {

namespace fs = std::filesystem;
using Lines = std::vector<std::string>;

/// A process that looks like `troupe actor CONFIG --run-dir run` in the folder `cwd`, until it is killed.
class FakeActor {
 public:
  explicit FakeActor(const fs::path& cwd) {
    spill(cwd / "actor", "sleep 60 & wait\n");  // the script that the shell under another name runs
    pid_ = fork();
    if (pid_ > 0) return;
    setpgid(0, 0);
    if (chdir(cwd.c_str()) == 0) execl("/bin/sh", "/usr/bin/troupe", "actor", "some.cfg", "--run-dir", "run", nullptr);
    _exit(127);
  }
  ~FakeActor() { end(); }
  void end() {
    if (pid_ <= 0) return;
    kill(-pid_, SIGKILL);
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
    pid_ = 0;
  }
  pid_t pid() const { return pid_; }
  /// Waits until it runs under its name.
  bool started() const {
    const Deadline deadline = Deadline::after_s(10);
    const fs::path words = "/proc/" + std::to_string(pid_) + "/cmdline";
    while (slurp(words).find("--run-dir") == std::string::npos && !deadline.expired()) usleep(1000);
    return !deadline.expired();
  }

 private:
  pid_t pid_ = 0;
};

}  // namespace

TEST_SUITE("hub/leftovers") {
  TEST_CASE("temporary files anywhere in the run directory and shared memory of its id are found") {
    const ScratchFolder scratch;
    const RunFolder folder{scratch / "run"};
    const std::string id = "leftovers-test-" + std::to_string(getpid());
    fs::create_directories(folder.checkpoints() / ".tmp-step-3-99");
    spill(folder.root / "config.cfg.tmp-abc", "x");
    spill(folder.root / "metrics.jsonl", "{}");
    const fs::path memory = "/dev/shm/troupe-" + id + "-v3";
    spill(memory, "x");
    const fs::path other = "/dev/shm/troupe-" + id + "b-v3";  // of another run
    spill(other, "x");
    fs::create_directory(folder.mpi_memory());
    spill(folder.mpi_memory() / "vader_segment.host.0.1", "x");

    Lines found = leftovers_of(folder, id, 100);
    std::sort(found.begin(), found.end());

    CHECK(found == Lines{"the shared memory " + memory.string(), "the shared memory " + folder.mpi_memory().string(),
                         "the temporary " + (folder.checkpoints() / ".tmp-step-3-99").string(),
                         "the temporary " + (folder.root / "config.cfg.tmp-abc").string()});
    CHECK(clear_shared_memory(folder, id) == std::vector<fs::path>{memory, folder.mpi_memory()});
    CHECK(leftovers_of(folder, id, 100).size() == 2);
    CHECK(fs::remove(other));
    CHECK(clear_shared_memory(folder, id).empty());
  }

  TEST_CASE("a process that works in the run directory is named; one of another run is not") {
    const ScratchFolder scratch;
    const RunFolder folder{scratch / "run"};
    fs::create_directories(folder.root);
    fs::create_directories(scratch / "elsewhere/run");
    FakeActor elsewhere(scratch / "elsewhere");
    FakeActor actor(scratch / "");
    CHECK(elsewhere.started());
    CHECK(actor.started());

    const std::string expected = "the process `troupe actor` (pid " + std::to_string(actor.pid()) + ")";
    const Lines found = leftovers_of(folder, "some-id", 100);
    actor.end();

    CHECK(found == Lines{expected});
    CHECK(leftovers_of(folder, "some-id", 100) == Lines{});
  }
}

}  // namespace troupe::test
