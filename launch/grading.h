#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include <boost/program_options.hpp>

#include "common/base/clock.h"
#include "common/config/config.h"
#include "rewarders/verifier.h"

namespace troupe {

/// Scores completions by several verifier processes at once. All that is done for each, reading and writing JSON too, its threads share.
class Grading {
 public:
  /// Adds the options that the constructor and `config_of` read; `reward`: the kind where no option says, or "".
  static void add_options(boost::program_options::options_description& options, const std::string& reward = "");

  /// What --reward or --config come to with `overrides` on top; it has rewards. @throws ConfigError.
  static Config config_of(const boost::program_options::variables_map& values, const std::vector<std::string>& overrides);

  /// Starts the verifiers, no more than there are completions, and tells on standard error what they use of this machine. `command` is
  /// what progress is told of. @throws ConfigError.
  Grading(const std::string& command, const boost::program_options::variables_map& values, const std::vector<RewardConfig>& rewards,
          std::size_t completions);

  /// Scores all that `item` gives by numbers from 0, and hands each score over; both are called by several threads. Tells on standard error
  /// how far it is. @throws what `item` throws for the first number, before any is scored; what a verifier threw.
  void run(const std::function<VerifierProcess::Item(std::size_t)>& item, const std::function<void(std::size_t, const Score&)>& done);

 private:
  using Work = std::function<void(VerifierProcess& verifier, std::size_t first, std::size_t end)>;
  /// Runs `work` on pieces of `piece` completions, in a thread a verifier. Of several failures the first completion's counts.
  void share_out(std::size_t piece, const Work& work);
  /// Called while the failure is handled; nothing more is begun then.
  void fail(std::size_t first);
  void tell() const;

  const std::string command_;
  const std::size_t completions_;
  const double timeout_s_;
  std::vector<std::unique_ptr<VerifierProcess>> verifiers_;
  SteadyClock clock_;
  std::int64_t start_ms_ = clock_.now_ms();
  std::atomic<std::size_t> next_ = 0;
  std::atomic<std::size_t> done_ = 0;
  std::atomic<std::size_t> working_ = 0;
  std::mutex mutex_;  // over the next two
  std::exception_ptr failure_;
  std::size_t failed_at_ = 0;
};

}  // namespace troupe
