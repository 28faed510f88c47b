#include <algorithm>
#include <atomic>
#include <cstdint>
#include <exception>
#include <iostream>
#include <memory>
#include <mutex>
#include <thread>

#include <nlohmann/json.hpp>

#include "common/base/clock.h"
#include "common/base/error.h"
#include "common/config/config.h"
#include "common/data/json_lines.h"
#include "common/data/rows.h"
#include "launch/command_line.h"
#include "launch/commands.h"
#include "launch/rows_io.h"
#include "rewarders/reward.h"
#include "rewarders/rewarder_loop.h"
#include "rewarders/score_json.h"
#include "rewarders/verifier.h"

namespace troupe {

namespace po = boost::program_options;

namespace {

constexpr std::int64_t kProgressMs = 5000;

std::vector<RewardConfig> rewards_of(const po::variables_map& values, const std::vector<std::string>& overrides) {
  if (values.count("reward") + values.count("config") != 1) {
    throw ConfigError("troupe grade: expected exactly one of --reward NAME and --config CONFIG");
  }
  if (values.count("reward") == 1) {
    const std::string kind = values["reward"].as<std::string>();
    return placed_rewards(parse_config("[reward." + kind + "]\nkind = " + kind + "\n", "troupe grade --reward", overrides));
  }
  const std::string file = values["config"].as<std::string>();
  auto rewards = placed_rewards(load_config(file, overrides));
  if (rewards.empty()) throw ConfigError(file + ": has no [reward.NAME] section");
  return rewards;
}

FinishReason finish_of(const Row& row) {
  const auto field = row.json.find("finish_reason");
  if (field == row.json.end() || *field == "stop") return FinishReason::kStop;
  if (*field == "length") return FinishReason::kLength;
  throw ConfigError(row.where + ": expected \"stop\" or \"length\" under `finish_reason`, found " + field->dump());
}

/// @throws ConfigError naming the row that cannot be graded.
void check_row(const Row& row) {
  const auto completion = row.json.find("completion");
  if (completion == row.json.end() || !completion->is_string()) throw ConfigError(row.where + ": expected a text under `completion`");
  const auto tokens = row.json.find("tokens");
  if (tokens != row.json.end() && !tokens->is_number_unsigned()) throw ConfigError(row.where + ": expected a count under `tokens`, found " + tokens->dump());
  finish_of(row);
}

/// Scores rows by several verifier processes at once. All that is done row by row, reading and writing JSON too, its threads share.
class Grading {
 public:
  Grading(const JsonLines& rows, double timeout_s) : rows_(rows), timeout_s_(timeout_s), scores_(rows.size()) {}

  /// All rows through `verifiers`; tells on standard error how far it is. @throws ConfigError for the first row that cannot be graded,
  /// before any is; what a verifier threw.
  void run(std::vector<std::unique_ptr<VerifierProcess>>& verifiers) {
    share_out(verifiers, kCheckedAtOnce, [&](VerifierProcess&, std::size_t first, std::size_t end) {
      for (std::size_t i = first; i < end; ++i) check_row(rows_.row(i));
    });
    share_out(verifiers, verifiers.front()->batch(), [&](VerifierProcess& verifier, std::size_t first, std::size_t end) {
      score(verifier, first, end);
    });
    tell();
  }

  /// A JSON line each, in the order of the rows.
  const std::vector<std::string>& scores() const { return scores_; }

 private:
  static constexpr std::size_t kCheckedAtOnce = 256;

  void score(VerifierProcess& verifier, std::size_t first, std::size_t end) {
    std::vector<VerifierProcess::Item> items;
    for (std::size_t i = first; i < end; ++i) {
      const Row row = rows_.row(i);
      items.push_back({row.text, row.json.at("completion").get<std::string>(), row.json.value("tokens", std::uint32_t{0}), finish_of(row)});
    }
    const std::vector<Score> scores = verifier.score_all(items, timeout_s_);
    for (std::size_t i = first; i < end; ++i) scores_[i] = nlohmann::json(score_to_json(scores[i - first])).dump();
    done_ += items.size();
  }

  /// Runs `work(verifier, first, end)` on pieces of `piece` rows, in a thread a verifier. Of several failures that of the first row counts.
  template <class Work>
  void share_out(std::vector<std::unique_ptr<VerifierProcess>>& verifiers, std::size_t piece, Work work) {
    next_ = 0;
    working_ = verifiers.size();
    std::vector<std::thread> threads;
    for (auto& verifier : verifiers) {
      threads.emplace_back([this, &verifier, piece, work] {
        for (std::size_t first = next_.fetch_add(piece); first < rows_.size(); first = next_.fetch_add(piece)) {
          try {
            work(*verifier, first, std::min(first + piece, rows_.size()));
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

  /// Called while the failure is handled; nothing more is begun then.
  void fail(std::size_t first) {
    const std::lock_guard lock(mutex_);
    next_ = rows_.size();
    if (failure_ && failed_row_ < first) return;
    failure_ = std::current_exception();
    failed_row_ = first;
  }

  void tell() const {
    const auto rate = static_cast<double>(done_) * 1000.0 / static_cast<double>(std::max<std::int64_t>(clock_.now_ms() - start_ms_, 1));
    std::cerr << "grade: " << done_ << " of " << rows_.size() << " rows, " << static_cast<std::int64_t>(rate) << " rows/s\n";
  }

  const JsonLines& rows_;
  double timeout_s_;
  std::vector<std::string> scores_;
  SteadyClock clock_;
  std::int64_t start_ms_ = clock_.now_ms();
  std::atomic<std::size_t> next_ = 0;
  std::atomic<std::size_t> done_ = 0;
  std::atomic<std::size_t> working_ = 0;
  std::mutex mutex_;  // over the next two
  std::exception_ptr failure_;
  std::size_t failed_row_ = 0;
};

}  // namespace

int grade_command(const std::vector<std::string>& words) {
  const Arguments arguments = split_arguments(words);
  po::options_description options;
  options.add_options()("reward", po::value<std::string>(), "one reward kind; its keys as --reward.KIND.KEY VALUE")(
      "config", po::value<std::string>(), "a configuration with [reward.NAME] sections")(
      "in", po::value<std::string>()->required(), "JSONL rows {\"question\", \"gold\", \"completion\", …}")(
      "out", po::value<std::string>()->required(), "JSONL rows {\"reward\", \"components\"}")(
      "jobs", po::value<int>()->default_value(static_cast<int>(std::max(1U, std::thread::hardware_concurrency()))), "verifier processes")(
      "timeout", po::value<double>()->default_value(RewarderOptions().score_timeout_s), "seconds for one completion, beside those that its programs may run");
  const auto values = parse_own("grade", arguments.own, options, {});
  const std::vector<RewardConfig> rewards = rewards_of(values, arguments.overrides);
  const int jobs = values["jobs"].as<int>();
  if (jobs < 1 || jobs > 1024) throw ConfigError("troupe grade: --jobs: expected a number from 1 to 1024, found " + std::to_string(jobs));
  const JsonLines rows(values["in"].as<std::string>());
  std::vector<std::unique_ptr<VerifierProcess>> verifiers;
  const std::size_t count = std::max<std::size_t>(1, std::min(rows.size(), static_cast<std::size_t>(jobs)));
  for (std::size_t i = 0; i < count; ++i) verifiers.push_back(std::make_unique<VerifierProcess>(rewards, own_verifier_command()));
  RowsWriter out(values["out"].as<std::string>());
  for (const std::string& line : verifiers.front()->about()) std::cerr << "grade: " << line << '\n';
  Grading grading(rows, values["timeout"].as<double>());
  grading.run(verifiers);
  for (const std::string& line : grading.scores()) out.write_line(line);
  out.close();
  return 0;
}

}  // namespace troupe
