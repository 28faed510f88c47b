#pragma once

#include <atomic>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "common/base/clock.h"
#include "common/config/config.h"
#include "common/messages/messages.h"
#include "rewarders/line_process.h"

namespace troupe {

/// What `troupe verifier` does: reads the reward sections (JSON) from the first line of standard input and says {"about": […]}, what
/// they found on this machine, or {"refused": "…"}; then takes one item a line {"row", "completion", "tokens", "cut_off"}, and answers
/// each with a score's JSON line; a list of items with the list of their scores. Limits itself (memory, no core files, dies with its
/// parent). Returns at the end of input.
int run_verifier();

/// A verifier process of the rewarder's, restarted when it dies or outlasts a deadline. A verifier that fails gives a score
/// whose components are `verifier_failed`, never 0. One thread at a time.
class VerifierProcess {
 public:
  /// `command` is the program and its arguments, by default this very program with the argument `verifier`.
  /// @throws ConfigError where a section is wrong.
  VerifierProcess(const std::vector<RewardConfig>& rewards, std::vector<std::string> command);

  /// What the rewards use of this machine, e.g. which sandbox: a line each. Waits for the process to have started.
  /// @throws ConfigError where this machine lacks what they need, TransportError where the process does not start.
  const std::vector<std::string>& about();

  /// Scores one completion within `timeout_s` and what the rewards take beyond it; a failure is tried once more, in a fresh process
  /// where this one died. @throws as about().
  Score score(const std::string& row, const std::string& completion, std::uint32_t tokens, FinishReason finish, double timeout_s);

  /// A completion to be scored, as score() takes it.
  struct Item {
    std::string row;
    std::string completion;
    std::uint32_t tokens = 0;
    FinishReason finish = FinishReason::kStop;
  };
  /// How many items score_all() does at once.
  std::size_t batch() const { return batches_ ? kBatch : 1; }
  /// The scores of up to batch() items, in one request where the rewards are quicker so, within `timeout_s` and what they take beyond it
  /// for each; those that fail are then scored one by one. @throws as about().
  std::vector<Score> score_all(std::span<const Item> items, double timeout_s);

  /// Gives up the score() that another thread waits for, and all later ones: they have no values. Any thread.
  void cancel();

  /// How often a process had to be replaced.
  int restarts() const { return restarts_; }

 private:
  static constexpr std::size_t kBatch = 16;

  void start();
  void meet();
  void replace();
  std::optional<nlohmann::ordered_json> ask(const std::string& line, Deadline deadline);

  std::vector<RewardConfig> rewards_;
  double extra_s_ = 0;
  bool batches_ = false;
  LineProcess process_;
  std::atomic<bool> cancelled_ = false;
  bool met_ = false;  // it has said what it is about
  std::vector<std::string> about_;
  int restarts_ = 0;
};

/// This program's own path with the argument `verifier`.
std::vector<std::string> own_verifier_command();

}  // namespace troupe
