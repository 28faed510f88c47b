#pragma once

#include <sys/types.h>

#include <optional>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "common/base/clock.h"
#include "common/base/files.h"
#include "common/config/config.h"
#include "common/messages/messages.h"

namespace troupe {

/// What `troupe verifier` does: reads the reward sections (JSON) from the first line of standard input, then one item a
/// line {"row", "completion", "tokens", "cut_off"}, and answers each with a score's JSON line. Limits itself (memory, no core
/// files, dies with its parent). Returns at the end of input.
int run_verifier();

/// A verifier process of the rewarder's, restarted when it dies or outlasts a deadline. A verifier that fails gives a score
/// whose components are `verifier_failed`, never 0. One thread at a time.
class VerifierProcess {
 public:
  /// `command` is the program and its arguments, by default this very program with the argument `verifier`.
  VerifierProcess(const std::vector<RewardConfig>& rewards, std::vector<std::string> command);
  ~VerifierProcess();
  VerifierProcess(const VerifierProcess&) = delete;
  VerifierProcess& operator=(const VerifierProcess&) = delete;

  /// Scores one completion within `timeout_s`; a failure is tried once more in a fresh process.
  Score score(const std::string& row, const std::string& completion, std::uint32_t tokens, FinishReason finish, double timeout_s);

  /// How often a process had to be replaced.
  int restarts() const { return restarts_; }

 private:
  void start();
  void stop();
  std::optional<Score> ask(const std::string& line, Deadline deadline);
  std::optional<std::string> read_line(Deadline deadline);

  std::vector<RewardConfig> rewards_;
  std::vector<std::string> command_;
  pid_t pid_ = -1;
  FileDescriptor to_child_;
  FileDescriptor from_child_;
  std::string pending_;  // read but not yet a whole line
  int restarts_ = 0;
};

/// This program's own path with the argument `verifier`.
std::vector<std::string> own_verifier_command();

}  // namespace troupe
