#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "common/base/logger.h"
#include "common/messages/control.h"
#include "common/transport/channel.h"

namespace troupe {

struct RewarderOptions {
  std::function<std::unique_ptr<PeerChannel>()> connect;
  Hello hello;
  int verifiers = 1;                         // verifier processes, each with a thread that feeds it
  double heartbeat_s = 10;
  double reconnect_s = 60;
  double score_timeout_s = 10;               // of one completion
  std::vector<std::string> verifier_command; // own_verifier_command()
  std::function<bool()> stop;                // true: leave with 75 (preemption). May be empty
};

/// A rewarder: registers with the hub, takes ScoreTasks on credit and hands ScoredGroups back until the hub ends the run.
/// Returns the process's exit code: the hub's, or 75 when the hub has been gone for reconnect_s.
int run_rewarder(const RewarderOptions& options, const Logger& logger);

}  // namespace troupe
