#include "tests/faults/injection.h"

#include <doctest/doctest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdlib>
#include <filesystem>

#include "common/base/error.h"
#include "common/base/fault.h"
#include "tests/learner/temporary_folder.h"

namespace troupe {
namespace {

/// At which of ten hits of "file.write" the error comes, as bits from the first hit on.
unsigned hits_of(const std::string& fault) {
  fault::arm(fault);
  unsigned hits = 0;
  for (unsigned i = 0; i < 10; ++i) {
    try {
      fault::point("file.write");
    } catch (const TransportError& error) {
      CHECK(std::string(error.what()) == "injected fault at file.write");
      hits |= 1U << i;
    }
  }
  fault::arm("");
  return hits;
}

/// How a process of its own ends that identifies itself as learner 1 under these variables and then reaches "file.fsync".
int end_of(const std::string& fault, const std::string& mark) {
  const pid_t child = fork();
  if (child == 0) {
    setenv("TROUPE_FAULT", fault.c_str(), 1);
    setenv("TROUPE_FAULT_MARK", mark.c_str(), 1);
    fault::identify("learner", 1);
    fault::point("file.fsync");
    _exit(0);
  }
  int status = 0;
  waitpid(child, &status, WUNTRACED);
  if (WIFSTOPPED(status)) {
    kill(child, SIGKILL);
    waitpid(child, nullptr, 0);
    return WSTOPSIG(status);
  }
  return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}

TEST_SUITE("faults/injection") {
  TEST_CASE("a fault happens at the nth hit of its point, or from there on, and at no other point") {
    CHECK(hits_of("") == 0);
    CHECK(hits_of("file.write:*:1:error") == 1);
    CHECK(hits_of("file.write:*:4:error") == 8);
    CHECK(hits_of("file.write:*:9+:error") == 0x300);
    CHECK(hits_of("file.*:*:2:error") == 2);
    CHECK(hits_of("file.fsync:*:1+:error") == 0);
    CHECK(hits_of("file.write:*:1+:corrupt") == 0);
  }

  TEST_CASE("a value is spoilt where that is asked for alone") {
    fault::arm("learner.gradient:*:2:corrupt");
    CHECK_FALSE(fault::spoilt("learner.gradient"));
    CHECK_FALSE(fault::spoilt("actor.slot_seed"));
    CHECK(fault::spoilt("learner.gradient"));
    CHECK_FALSE(fault::spoilt("learner.gradient"));
    fault::arm("learner.gradient:*:1:error");
    CHECK_FALSE(fault::spoilt("learner.gradient"));
    fault::arm("");
  }

  TEST_CASE("a delay lasts a second") {
    fault::arm("hub.send:*:1:delay");
    const auto start = std::chrono::steady_clock::now();
    fault::point("hub.send");
    CHECK(std::chrono::steady_clock::now() - start >= std::chrono::seconds(1));
    fault::arm("");
  }

  TEST_CASE("a process is killed or stopped by rank, by role and rank, or whatever it is, once a mark") {
    const TemporaryFolder folder;
    int number = 0;
    const auto mark = [&] { return (folder.path() / std::to_string(++number)).string(); };
    CHECK(end_of("file.fsync:1:1:kill", mark()) == SIGKILL);
    CHECK(end_of("file.fsync:learner1:1:stop", mark()) == SIGSTOP);
    CHECK(end_of("file.fsync:*:1:kill", mark()) == SIGKILL);
    CHECK(end_of("file.fsync:0:1:kill", mark()) == 0);
    CHECK(end_of("file.fsync:actor1:1:kill", mark()) == 0);

    const std::string once = mark();
    CHECK_FALSE(std::filesystem::exists(once));
    CHECK(end_of("file.fsync:*:1:kill", once) == SIGKILL);
    CHECK(std::filesystem::exists(once));
    CHECK(end_of("file.fsync:*:1:kill", once) == 0);
    CHECK(end_of("file.fsync:*:1+:kill", once) == SIGKILL);
  }

  TEST_CASE("what is no fault is refused by its part") {
    for (const char* wrong : {"file.fsync:*:1", "file.sync:*:1:kill", "file.fsync:*:0:kill", "file.fsync:*:x:kill", "file.fsync:*:1:burn"}) {
      CHECK_THROWS_AS(fault::arm(wrong), ConfigError);
    }
  }
}

}  // namespace
}  // namespace troupe
