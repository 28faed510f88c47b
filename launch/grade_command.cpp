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
#include "common/data/rows.h"
#include "launch/command_line.h"
#include "launch/commands.h"
#include "launch/rows_io.h"
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
    return parse_config("[reward." + kind + "]\nkind = " + kind + "\n", "troupe grade --reward", overrides).rewards;
  }
  const std::string file = values["config"].as<std::string>();
  auto rewards = load_config(file, overrides).rewards;
  if (rewards.empty()) throw ConfigError(file + ": has no [reward.NAME] section");
  return rewards;
}

FinishReason finish_of(const Row& row) {
  const auto field = row.json.find("finish_reason");
  if (field == row.json.end() || *field == "stop") return FinishReason::kStop;
  if (*field == "length") return FinishReason::kLength;
  throw ConfigError(row.where + ": expected \"stop\" or \"length\" under `finish_reason`, found " + field->dump());
}

/// Scores rows by several verifier processes at once.
class Grading {
 public:
  Grading(const std::vector<Row>& rows, double timeout_s) : rows_(rows), timeout_s_(timeout_s), scores_(rows.size()) {}

  void work(VerifierProcess& verifier) {
    try {
      const std::size_t batch = verifier.batch();
      for (std::size_t first = next_.fetch_add(batch); first < rows_.size(); first = next_.fetch_add(batch)) {
        std::vector<VerifierProcess::Item> items;
        for (std::size_t i = first; i < std::min(first + batch, rows_.size()); ++i) {
          const nlohmann::json& row = rows_[i].json;
          items.push_back({row.dump(), row.at("completion").get<std::string>(), row.value("tokens", std::uint32_t{0}), finish_of(rows_[i])});
        }
        std::vector<Score> scores = verifier.score_all(items, timeout_s_);
        std::move(scores.begin(), scores.end(), scores_.begin() + static_cast<std::ptrdiff_t>(first));
        done_ += items.size();
      }
    } catch (...) {
      const std::lock_guard lock(mutex_);
      if (!failure_) failure_ = std::current_exception();
      next_ = rows_.size();
    }
    --working_;
  }

  /// All rows through `verifiers`; tells on standard error how far it is. @throws what a verifier threw.
  void run(std::vector<std::unique_ptr<VerifierProcess>>& verifiers) {
    const SteadyClock clock;
    const std::int64_t start_ms = clock.now_ms();
    working_ = verifiers.size();
    std::vector<std::thread> threads;
    for (auto& verifier : verifiers) threads.emplace_back([this, &verifier] { work(*verifier); });
    for (std::int64_t told_ms = start_ms; working_ > 0; std::this_thread::sleep_for(std::chrono::milliseconds(5))) {
      if (clock.now_ms() - told_ms < kProgressMs) continue;
      told_ms = clock.now_ms();
      tell(told_ms - start_ms);
    }
    for (std::thread& thread : threads) thread.join();
    if (failure_) std::rethrow_exception(failure_);
    tell(clock.now_ms() - start_ms);
  }

  const std::vector<Score>& scores() const { return scores_; }

 private:
  void tell(std::int64_t ms) const {
    const auto rate = static_cast<double>(done_) * 1000.0 / static_cast<double>(std::max<std::int64_t>(ms, 1));
    std::cerr << "grade: " << done_ << " of " << rows_.size() << " rows, " << static_cast<std::int64_t>(rate) << " rows/s\n";
  }

  const std::vector<Row>& rows_;
  double timeout_s_;
  std::vector<Score> scores_;
  std::atomic<std::size_t> next_ = 0;
  std::atomic<std::size_t> done_ = 0;
  std::atomic<std::size_t> working_ = 0;
  std::mutex mutex_;
  std::exception_ptr failure_;
};

void check_rows(const std::vector<Row>& rows) {
  for (const Row& row : rows) {
    const auto completion = row.json.find("completion");
    if (completion == row.json.end() || !completion->is_string()) throw ConfigError(row.where + ": expected a text under `completion`");
    const auto tokens = row.json.find("tokens");
    if (tokens != row.json.end() && !tokens->is_number_unsigned()) throw ConfigError(row.where + ": expected a count under `tokens`, found " + tokens->dump());
    finish_of(row);
  }
}

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
  const std::vector<Row> rows = read_rows(values["in"].as<std::string>());
  std::vector<std::unique_ptr<VerifierProcess>> verifiers;
  const std::size_t count = std::max<std::size_t>(1, std::min(rows.size(), static_cast<std::size_t>(jobs)));
  for (std::size_t i = 0; i < count; ++i) verifiers.push_back(std::make_unique<VerifierProcess>(rewards, own_verifier_command()));
  check_rows(rows);
  RowsWriter out(values["out"].as<std::string>());
  for (const std::string& line : verifiers.front()->about()) std::cerr << "grade: " << line << '\n';
  Grading grading(rows, values["timeout"].as<double>());
  grading.run(verifiers);
  for (const Score& score : grading.scores()) out.write(nlohmann::json(score_to_json(score)));
  out.close();
  return 0;
}

}  // namespace troupe
