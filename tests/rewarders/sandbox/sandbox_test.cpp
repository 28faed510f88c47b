#include "rewarders/sandbox/sandbox.h"

#include <doctest/doctest.h>

#include <filesystem>

namespace troupe {
namespace {

SandboxJob shell(const std::string& script, double time_s = 5) {
  SandboxJob job;
  job.command = {"sh", "-c", script};
  job.limits.time_s = time_s;
  return job;
}

SandboxJob python(const std::string& script, double time_s = 5) {
  SandboxJob job;
  job.command = {"python3", "-I", "-c", script};
  job.limits.time_s = time_s;
  return job;
}

const Sandbox& sandbox() {
  static const Sandbox kSandbox;
  return kSandbox;
}

}  // namespace

TEST_SUITE("rewarders/sandbox/sandbox") {
  TEST_CASE("output, errors, input and exit code of a program come back") {
    SandboxJob job = shell("cat; echo oops >&2; exit 3");
    job.input = "hello";

    const SandboxOutcome outcome = sandbox().run(job);

    CHECK(outcome.end == SandboxEnd::kExited);
    CHECK(outcome.code == 3);
    CHECK(outcome.output == "hello");
    CHECK(outcome.errors == "oops\n");
  }

  TEST_CASE("a program finds the files of its job, and cannot change them") {
    SandboxJob job = shell("cat /data; /run.sh; echo x >/data");
    job.files = {{"/data", "1 2 3\n", false}, {"/run.sh", "#!/bin/sh\necho ran\n", true}};

    const SandboxOutcome outcome = sandbox().run(job);

    CHECK(outcome.output == "1 2 3\nran\n");
    CHECK(outcome.code != 0);
  }

  TEST_CASE("a program sees nothing of the machine but /usr, its own processes and no network") {
    const SandboxOutcome outcome = sandbox().run(shell(
        "ls /; id -u; ls /proc | grep -c '^[0-9]'; cat /etc/passwd; ls /root /home; grep -c . /proc/net/dev; touch /usr/x /x /etc/x /dev/x"));

    CHECK(outcome.output.find("root\n") == std::string::npos);
    CHECK(outcome.output.find("65534\n") != std::string::npos);
    CHECK(outcome.output.find("\n4\n") != std::string::npos);  // init, sh, ls, grep
    CHECK(outcome.output.find("root:") == std::string::npos);
    CHECK(outcome.output.ends_with("\n3\n"));  // two lines of headings, and lo
    CHECK(outcome.code != 0);
  }

  TEST_CASE("what breaks a limit is ended and told apart") {
    struct Case {
      SandboxJob job;
      SandboxEnd end;
    };
    SandboxJob memory = python("import os, time\nfor _ in range(6):\n  if os.fork() == 0:\n    x = b'x' * (60 << 20)\n    time.sleep(1)\n    os._exit(0)\n"
                               "raise SystemExit(any(os.wait()[1] for _ in range(6)))");
    memory.limits.memory_bytes = 200 << 20;
    const Case cases[] = {
        {shell("sleep 100", 1), SandboxEnd::kTimeLimit},
        {shell("while :; do :; done", 1), SandboxEnd::kTimeLimit},
        {shell("trap '' TERM INT; (setsid sleep 100 &) ; sleep 100", 1), SandboxEnd::kTimeLimit},
        {shell("yes"), SandboxEnd::kOutputLimit},
        {shell("yes >&2"), SandboxEnd::kOutputLimit},
        {shell("exec head -c 1G /dev/zero >/tmp/a"), SandboxEnd::kOutputLimit},
        {python("import os\nos.kill(os.getpid(), 9)"), SandboxEnd::kKilled},
        {python("import ctypes\nctypes.CDLL(None).unshare(0x10000000)"), SandboxEnd::kForbidden},
        {python("import ctypes\nctypes.CDLL(None).ptrace(0, 0, 0, 0)"), SandboxEnd::kForbidden},
        {python("import socket\nsocket.socket()"), SandboxEnd::kForbidden},
        {python("import os\nos.kill(-1, 9)"), SandboxEnd::kForbidden},
        {python("import os\nos.kill(os.getppid(), 15)"), SandboxEnd::kForbidden},
    };

    for (const Case& c : cases) {
      CAPTURE(c.job.command.back());
      const SandboxOutcome outcome = sandbox().run(c.job);
      CHECK(outcome.end == c.end);
      CHECK(outcome.time_s <= c.job.limits.time_s);
    }
    const std::int64_t start_ms = SteadyClock().now_ms();
    sandbox().run(shell("sleep 100", 1));
    CHECK(SteadyClock().now_ms() - start_ms < 5000);
    if (sandbox().describe().find("memory") != std::string::npos) CHECK(sandbox().run(memory).end == SandboxEnd::kMemoryLimit);
    if (sandbox().describe().find("pids") != std::string::npos) {
      const SandboxOutcome bomb = sandbox().run(shell("b() { b | b & b; }; b"));
      CAPTURE(bomb.code);
      CAPTURE(bomb.errors.substr(0, 200));
      CHECK(static_cast<int>(bomb.end) == static_cast<int>(SandboxEnd::kForbidden));
    }
  }

  TEST_CASE("processes are counted by rlimits too, and the disk by the size of its folders") {
    const char* forks = "import os\nn = 0\nwhile n < 200:\n  try: p = os.fork()\n  except OSError: break\n"
                        "  if p == 0:\n    import time; time.sleep(5)\n  n += 1\nprint(n)";
    SandboxJob job = python(forks);
    job.limits.processes = 20;
    const SandboxOutcome outcome = sandbox().run(job);
    const bool counted = outcome.end == SandboxEnd::kForbidden || outcome.output == "18\n";  // init and itself are the others
    CHECK(counted);

    const SandboxOutcome disk = sandbox().run(shell("for i in 1 2 3; do head -c 40000000 /dev/zero >/tmp/$i || exit 7; done"));
    CHECK(disk.code == 7);
    CHECK(disk.errors.find("No space left") != std::string::npos);
  }

  TEST_CASE("a sandbox that ended leaves no process, also of a program that hid one") {
    SandboxJob job = shell("(setsid sh -c 'sleep 97.531 &' &) ; exit 0");

    sandbox().run(job);

    bool found = false;
    for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
      std::error_code error;
      if (!std::filesystem::exists(entry.path() / "cmdline", error)) continue;
      try {
        found |= read_file(entry.path() / "cmdline").find("97.531") != std::string::npos &&
                 read_file(entry.path() / "cmdline").starts_with("sleep");
      } catch (const std::exception&) {  // it ended meanwhile
      }
    }
    CHECK_FALSE(found);
  }

  TEST_CASE("a program that never began is a failure of the sandbox, not of the program") {
    SandboxJob job = shell("exit 0");
    job.limits.memory_bytes = 1 << 10;

    CHECK(sandbox().run(job).end == SandboxEnd::kFailed);
  }
}

}  // namespace troupe
