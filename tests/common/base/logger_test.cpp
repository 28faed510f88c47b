#include "common/base/logger.h"

#include <unistd.h>

#include <filesystem>
#include <regex>
#include <string>
#include <thread>
#include <vector>

#include <doctest/doctest.h>

#include "common/base/error.h"
#include "common/base/files.h"
#include "common/base/text.h"

using namespace troupe;

namespace {

struct LogFile {
  std::string path =
      (std::filesystem::temp_directory_path() / ("troupe-log-" + std::to_string(::getpid()))).string();
  LogFile() { std::filesystem::remove(path); }
  ~LogFile() { std::filesystem::remove(path); }
  std::vector<std::string> lines() const {
    const std::string text = read_file(path);
    std::vector<std::string> lines;
    for (const auto line : split(trim(text), '\n')) lines.emplace_back(line);
    return lines;
  }
};

}  // namespace

TEST_SUITE("base/logger") {
  TEST_CASE("lines carry time, level and component, and copies share the file") {
    const LogFile file;
    Logger log("hub");
    const Logger actor = log.with_component("actor 2");

    log.also_to_file(file.path);
    log.info("step done step=3 reward={0.5}");
    actor.warning("late");
    log.error("lost");

    const auto lines = file.lines();
    REQUIRE(lines.size() == 3);
    CHECK(std::regex_match(lines[0], std::regex(R"(\d\d:\d\d:\d\d\.\d{3} info \[hub\] step done step=3 reward=\{0\.5\})")));
    CHECK(std::regex_match(lines[1], std::regex(R"(\d\d:\d\d:\d\d\.\d{3} warning \[actor 2\] late)")));
    CHECK(std::regex_match(lines[2], std::regex(R"(\d\d:\d\d:\d\d\.\d{3} error \[hub\] lost)")));
  }

  TEST_CASE("lines below the level are left out") {
    const LogFile file;
    Logger log("a", LogLevel::kWarning);
    log.also_to_file(file.path);

    log.debug("no");
    log.info("no");
    log.warning("yes");

    CHECK(file.lines().size() == 1);
  }

  TEST_CASE("lines of several threads do not mix") {
    const LogFile file;
    Logger log("a", LogLevel::kDebug);
    log.also_to_file(file.path);
    std::vector<std::thread> threads;

    for (int t = 0; t < 4; ++t) {
      threads.emplace_back([&] {
        for (int i = 0; i < 10; ++i) log.debug("0123456789");
      });
    }
    for (std::thread& thread : threads) thread.join();

    const auto lines = file.lines();
    CHECK(lines.size() == 40);
    for (const auto& line : lines) CHECK(line.ends_with("debug [a] 0123456789"));
  }

  TEST_CASE("a log file that cannot be opened is named") {
    Logger log("a");
    CHECK_THROWS_AS(log.also_to_file("/proc/no/such.log"), ConfigError);
  }
}
