#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace troupe {

/// What an audit of a run directory found.
struct AuditResult {
  std::vector<std::string> problems;  // each names its invariant ("I2: …"); empty where all hold
  bool finished = false;
  std::string final_hash;          // of the end record; "" where there is none
  std::int64_t steps = 0;          // trained
  std::int64_t groups_leased = 0;  // distinct training groups
  std::int64_t groups_trained = 0;
  std::int64_t groups_open = 0;                              // without a final state yet
  std::map<std::string, std::int64_t> groups_refused;        // final, by reason
  std::map<std::string, std::int64_t> groups_refused_again;  // results thrown away whose prompt was leased again
  std::int64_t groups_read = 0;    // trained ones whose bytes were read and hashed
  std::int64_t groups_pruned = 0;  // … whose bytes are pruned
  std::int64_t leases_lost = 0;
  std::int64_t exact_steps = 0;  // the weights of steps 1 to this came out alike in every attempt
};

/// Checks the run directory's ledger, rollout log and files: I1 every leased group has exactly one final state, or is
/// open in an unfinished run; I2 no group is in two steps; I3 the rollout log is whole, and each trained group's
/// bytes have the hash that the ledger names; I4 lag is at most run.max_lag; I5 steps are consecutive; I6 no temporary
/// file, shared memory or process of a finished run is left; I7 the end record is there if and only if summary.json is (a run's exit code only who started it
/// sees, and so it is with I8, the last line of an error). Groups that were pruned are counted, and no part of I3 and I4.
/// Reads only, also beside a run that goes on, and on its own: not by the fold that the hub goes by.
/// @throws ConfigError where there is no ledger, or it cannot be read.
AuditResult audit(const std::string& run_dir);

}  // namespace troupe
