#include "launch/grading.h"

#include <algorithm>
#include <chrono>
#include <iostream>
#include <thread>

#include "common/base/error.h"
#include "rewarders/rewarder_loop.h"

namespace troupe {

namespace po = boost::program_options;

namespace {

constexpr std::int64_t kProgressMs = 5000;
constexpr std::size_t kCheckedAtOnce = 256;

}  // namespace

void Grading::add_options(po::options_description& options, const std::string& reward) {
  const auto kind = po::value<std::string>();
  if (!reward.empty()) kind->default_value(reward);
  options.add_options()("reward", kind, "one reward kind; its keys as --reward.KIND.KEY VALUE")(
      "config", po::value<std::string>(), "a configuration with [reward.NAME] sections")(
      "jobs", po::value<int>()->default_value(static_cast<int>(std::max(1U, std::thread::hardware_concurrency()))), "verifier processes")(
      "timeout", po::value<double>()->default_value(RewarderOptions().score_timeout_s), "seconds for one completion, beside those that its programs may run");
}

Config Grading::config_of(const po::variables_map& values, const std::vector<std::string>& overrides) {
  const bool named = values.count("reward") == 1 && !(values["reward"].defaulted() && values.count("config") == 1);
  if ((named ? 1 : 0) + values.count("config") != 1) {
    throw ConfigError("expected exactly one of --reward NAME and --config CONFIG");
  }
  if (named) {
    const std::string kind = values["reward"].as<std::string>();
    return parse_config("[reward." + kind + "]\nkind = " + kind + "\n", "--reward", overrides);
  }
  const std::string file = values["config"].as<std::string>();
  Config config = load_config(file, overrides);
  if (config.rewards.empty()) throw ConfigError(file + ": has no [reward.NAME] section");
  return config;
}

Grading::Grading(const std::string& command, const po::variables_map& values, const std::vector<RewardConfig>& rewards, std::size_t completions)
    : command_(command), completions_(completions), timeout_s_(values["timeout"].as<double>()) {
  const int jobs = values["jobs"].as<int>();
  if (jobs < 1 || jobs > 1024) throw ConfigError("--jobs: expected a number from 1 to 1024, found " + std::to_string(jobs));
  const std::size_t count = std::max<std::size_t>(1, std::min(completions, static_cast<std::size_t>(jobs)));
  for (std::size_t i = 0; i < count; ++i) verifiers_.push_back(std::make_unique<VerifierProcess>(rewards, own_verifier_command()));
  for (const std::string& line : verifiers_.front()->about()) std::cerr << command_ << ": " << line << '\n';
}

void Grading::run(const std::function<VerifierProcess::Item(std::size_t)>& item, const std::function<void(std::size_t, const Score&)>& done) {
  share_out(kCheckedAtOnce, [&](VerifierProcess&, std::size_t first, std::size_t end) {
    for (std::size_t i = first; i < end; ++i) item(i);
  });
  share_out(verifiers_.front()->batch(), [&](VerifierProcess& verifier, std::size_t first, std::size_t end) {
    std::vector<VerifierProcess::Item> items;
    for (std::size_t i = first; i < end; ++i) items.push_back(item(i));
    const std::vector<Score> scores = verifier.score_all(items, timeout_s_);
    for (std::size_t i = first; i < end; ++i) done(i, scores[i - first]);
    done_ += items.size();
  });
  tell();
}

void Grading::share_out(std::size_t piece, const Work& work) {
  next_ = 0;
  working_ = verifiers_.size();
  std::vector<std::thread> threads;
  for (auto& verifier : verifiers_) {
    threads.emplace_back([this, &verifier, piece, &work] {
      for (std::size_t first = next_.fetch_add(piece); first < completions_; first = next_.fetch_add(piece)) {
        try {
          work(*verifier, first, std::min(first + piece, completions_));
        } catch (...) {
          fail(first);
        }
      }
      --working_;
    });
  }
  for (std::int64_t told_ms = clock_.now_ms(); working_ > 0; std::this_thread::sleep_for(std::chrono::milliseconds(5))) {
    if (clock_.now_ms() - told_ms < kProgressMs) continue;
    told_ms = clock_.now_ms();
    tell();
  }
  for (std::thread& thread : threads) thread.join();
  if (failure_) std::rethrow_exception(failure_);
}

void Grading::fail(std::size_t first) {
  const std::lock_guard lock(mutex_);
  next_ = completions_;
  if (failure_ && failed_at_ < first) return;
  failure_ = std::current_exception();
  failed_at_ = first;
}

void Grading::tell() const {
  const auto rate = static_cast<double>(done_) * 1000.0 / static_cast<double>(std::max<std::int64_t>(clock_.now_ms() - start_ms_, 1));
  std::cerr << command_ << ": " << done_ << " of " << completions_ << " rows, " << static_cast<std::int64_t>(rate) << " rows/s\n";
}

}  // namespace troupe
