#include <doctest/doctest.h>

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "common/base/files.h"
#include "rewarders/reward.h"

namespace troupe {
namespace {

using Json = nlohmann::json;

/// A socket of this machine's that a sandboxed program must not reach: data/code/escapes.jsonl has its name.
class Listener {
 public:
  Listener() : socket_(socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    const char name[] = "\0troupe-escape-listener";
    std::memcpy(address.sun_path, name, sizeof name - 1);
    const auto length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + sizeof name - 1);
    listens_ = bind(socket_.get(), reinterpret_cast<const sockaddr*>(&address), length) == 0 && listen(socket_.get(), 8) == 0;
  }
  bool listens() const { return listens_; }
  bool met() const { return accept(socket_.get(), nullptr, nullptr) >= 0; }

 private:
  FileDescriptor socket_;
  bool listens_ = false;
};

/// Whether the process that one of the attempts hides is still there.
bool left_behind() {
  for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
    std::ifstream file(entry.path() / "cmdline");
    std::string line;
    std::getline(file, line, '\1');  // its words end in zeros
    if (line.starts_with("sleep") && line.find("86.531") != std::string::npos) return true;
  }
  return false;
}

}  // namespace

TEST_SUITE("rewarders/escape") {
  TEST_CASE("attempts to escape, to exhaust and to forge are contained, told by name and leave the next program alone") {
    const auto reward = make_reward({"code", "code", 1.0, {{"time_s", "1"}, {"memory_mib", "256"}}});
    reward->prepare();
    const Json sum = {{"test_list", {"assert add(1, 2) == 3", "assert add(2, 2) == 4", "assert add(0, 5) == 5"}}};
    const Json sum_cpp = {{"lang", "cpp"}, {"tests", {{{"input", "3 4\n"}, {"output", "7\n"}}, {{"input", "1 1\n"}, {"output", "2\n"}}}}};
    const auto grade = [&](const Json& row, const std::string& program) { return reward->grade({row, program, 0, FinishReason::kStop}); };
    const Listener listener;
    REQUIRE(listener.listens());
    std::ifstream file(std::string(TROUPE_TEST_DATA) + "/data/code/escapes.jsonl");
    REQUIRE(file);

    int attempts = 0;
    for (std::string line; std::getline(file, line); ++attempts) {
      const Json attempt = Json::parse(line);
      CAPTURE(attempt["name"].dump());
      const Json& row = attempt.contains("lang") ? sum_cpp : sum;
      const auto expected = [&](const Grade& told) { return std::find(attempt["told"].begin(), attempt["told"].end(), told.reason) != attempt["told"].end(); };
      Grade told = grade(row, attempt["program"]);
      // Where this process does not get to read, a flood waits for it until its time is over.
      if (told.reason == "time_limit" && !expected(told)) told = grade(row, attempt["program"]);
      CAPTURE(told.reason);
      CHECK(told.value == 0.0);
      CHECK(expected(told));
      if (attempts % 8 != 0) continue;
      const Grade next = grade(sum, "def add(a, b): return a + b");
      CHECK(next.reason == "ok");
      CHECK(next.value == 1.0);
    }

    CHECK(attempts == 151);
    CHECK(grade(sum, "def add(a, b): return a + b").value == 1.0);
    CHECK_FALSE(listener.met());
    CHECK_FALSE(left_behind());
  }
}

}  // namespace troupe
