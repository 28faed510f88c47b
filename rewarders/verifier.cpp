#include "rewarders/verifier.h"

#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <iostream>

#include <nlohmann/json.hpp>

#include "common/base/error.h"
#include "common/base/text.h"
#include "rewarders/reward.h"
#include "rewarders/score_json.h"

namespace troupe {
namespace {

constexpr rlim_t kMemoryLimitBytes = rlim_t{2} << 30;  // beside what the libraries take, which with CUDA is gigabytes of addresses
constexpr double kStartS = 60;  // until a verifier process has begun

/// Bytes of addresses that this process has taken so far.
rlim_t addresses_in_use() {
  std::ifstream in("/proc/self/statm");
  rlim_t pages = 0;
  in >> pages;
  return pages * static_cast<rlim_t>(sysconf(_SC_PAGESIZE));
}

void limit_this_process() {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  rlimit memory{};
  getrlimit(RLIMIT_AS, &memory);
  memory.rlim_cur = std::min(memory.rlim_max, addresses_in_use() + kMemoryLimitBytes);  // programs that it starts may have more
  const rlimit none{0, 0};
  setrlimit(RLIMIT_AS, &memory);
  setrlimit(RLIMIT_CORE, &none);
}

nlohmann::json rewards_to_json(const std::vector<RewardConfig>& rewards) {
  nlohmann::json list = nlohmann::json::array();
  for (const RewardConfig& reward : rewards) {
    list.push_back({{"name", reward.name}, {"kind", reward.kind}, {"weight", reward.weight}, {"parameters", reward.parameters}});
  }
  return list;
}

std::vector<RewardConfig> rewards_from_json(const nlohmann::json& list) {
  std::vector<RewardConfig> rewards;
  for (const auto& item : list) {
    rewards.push_back({item.at("name"), item.at("kind"), item.at("weight"), item.at("parameters")});
  }
  return rewards;
}

Score failed_score(const std::vector<RewardConfig>& rewards) {
  Score score;
  for (const RewardConfig& reward : rewards) score.components.push_back({reward.name, std::nullopt, "verifier_failed", 0});
  return score;
}

/// An item's own copies, which a GradedItem borrows.
struct OwnedItem {
  nlohmann::json row;
  std::string completion;  // bytes that are not UTF-8 were replaced on the way here
  std::uint32_t tokens;
  FinishReason finish;
};

/// The scores of items; rows that cannot be graded are a failed verifier, and it says so on standard error.
std::vector<Score> scores_of(const nlohmann::json& list, const RewardSet& rewards, const std::vector<RewardConfig>& configs) {
  try {
    std::vector<OwnedItem> owned;
    for (const nlohmann::json& item : list) {
      owned.push_back({nlohmann::json::parse(item.at("row").get<std::string>()), item.at("completion"), item.at("tokens"),
                       item.at("cut_off") ? FinishReason::kLength : FinishReason::kStop});
    }
    std::vector<GradedItem> items;
    for (const OwnedItem& item : owned) items.push_back({item.row, item.completion, item.tokens, item.finish});
    return rewards.score_all(items);
  } catch (const std::exception& error) {
    std::cerr << "verifier: " << error.what() << '\n';
    return std::vector<Score>(list.size(), failed_score(configs));
  }
}

nlohmann::ordered_json answer_to(const std::string& line, const RewardSet& rewards, const std::vector<RewardConfig>& configs) {
  const nlohmann::json asked = nlohmann::json::parse(line, nullptr, false);
  if (!asked.is_array()) return score_to_json(scores_of(nlohmann::json::array({asked}), rewards, configs).front());
  nlohmann::ordered_json answers = nlohmann::ordered_json::array();
  for (const Score& score : scores_of(asked, rewards, configs)) answers.push_back(score_to_json(score));
  return answers;
}

nlohmann::json item_to_json(const VerifierProcess::Item& item) {
  return {{"row", item.row}, {"completion", item.completion}, {"tokens", item.tokens}, {"cut_off", item.finish == FinishReason::kLength}};
}

std::string line_of(const nlohmann::json& json) { return json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace); }

std::optional<Score> score_in(const nlohmann::ordered_json& answer) {
  try {
    return score_from_json(answer);
  } catch (const nlohmann::json::exception&) {
    return std::nullopt;
  } catch (const ProtocolError&) {
    return std::nullopt;
  }
}

void say(const nlohmann::ordered_json& what) {
  std::cout << what.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) << '\n' << std::flush;
}

}  // namespace

std::vector<std::string> own_verifier_command() {
  return {std::filesystem::read_symlink("/proc/self/exe").string(), "verifier"};
}

int run_verifier() {
  limit_this_process();
  std::ios::sync_with_stdio(false);
  std::string line;
  if (!std::getline(std::cin, line)) return 2;
  const std::vector<RewardConfig> configs = rewards_from_json(nlohmann::json::parse(line));
  RewardSet rewards(configs);
  try {
    say({{"about", rewards.prepare()}});
  } catch (const ConfigError& error) {
    say({{"refused", error.what()}});
    return 2;
  }
  while (std::getline(std::cin, line)) say(answer_to(line, rewards, configs));
  return 0;
}

VerifierProcess::VerifierProcess(const std::vector<RewardConfig>& rewards, std::vector<std::string> command)
    : rewards_(rewards), process_(std::move(command)) {
  const RewardSet set(rewards_);  // a wrong section is an error here, not a failed verifier later
  extra_s_ = set.extra_s();
  batches_ = set.batches() || extra_s_ == 0;  // to ask about plain reckoning takes longer than the reckoning
  start();
}

void VerifierProcess::start() {
  process_.start();
  met_ = false;
  process_.write_line(rewards_to_json(rewards_).dump(), Deadline::after_s(kStartS));
}

/// Waits for what the process says first.
void VerifierProcess::meet() {
  if (met_) return;
  const auto line = process_.read_line(Deadline::after_s(kStartS));
  const nlohmann::json said = line ? nlohmann::json::parse(*line, nullptr, false) : nlohmann::json();
  if (!said.is_object()) throw TransportError("a verifier process does not start: it died, or said nothing of use within " + shortest(kStartS) + " s");
  if (said.contains("refused")) throw ConfigError(said.at("refused").get<std::string>());
  about_ = said.at("about").get<std::vector<std::string>>();
  met_ = true;
}

const std::vector<std::string>& VerifierProcess::about() {
  meet();
  return about_;
}

std::optional<nlohmann::ordered_json> VerifierProcess::ask(const std::string& line, Deadline deadline) {
  if (!process_.write_line(line, deadline)) return std::nullopt;
  const auto answer = process_.read_line(deadline);
  if (!answer) return std::nullopt;
  nlohmann::ordered_json json = nlohmann::ordered_json::parse(*answer, nullptr, false);
  return json.is_discarded() ? std::nullopt : std::optional(std::move(json));
}

/// A fresh process for one that died or is late.
void VerifierProcess::replace() {
  process_.stop();
  if (cancelled_) return;
  ++restarts_;
  start();
}

Score VerifierProcess::score(const std::string& row, const std::string& completion, std::uint32_t tokens, FinishReason finish,
                             double timeout_s) {
  const std::string line = line_of(item_to_json({row, completion, tokens, finish}));
  Score last = failed_score(rewards_);
  for (int attempt = 0; attempt < 2; ++attempt) {
    meet();
    if (cancelled_) break;
    const auto answer = ask(line, Deadline::after_s(timeout_s + extra_s_));
    const auto score = answer ? score_in(*answer) : std::nullopt;
    if (score && score->reward) return *score;
    if (score) {
      last = *score;
      continue;
    }
    replace();
    if (cancelled_) break;
  }
  return last;
}

std::vector<Score> VerifierProcess::score_all(std::span<const Item> items, double timeout_s) {
  std::vector<std::optional<Score>> together(items.size());
  if (batches_ && items.size() > 1) {
    meet();
    nlohmann::json list = nlohmann::json::array();
    for (const Item& item : items) list.push_back(item_to_json(item));
    const auto answer = ask(line_of(list), Deadline::after_s(timeout_s + static_cast<double>(items.size()) * extra_s_));
    const bool fits = answer && answer->is_array() && answer->size() == items.size();
    if (!fits) replace();
    for (std::size_t i = 0; fits && i < items.size(); ++i) together[i] = score_in((*answer)[i]);
  }
  std::vector<Score> scores;
  for (std::size_t i = 0; i < items.size(); ++i) {
    const bool done = together[i] && together[i]->reward;
    scores.push_back(done ? *together[i] : score(items[i].row, items[i].completion, items[i].tokens, items[i].finish, timeout_s));
  }
  return scores;
}

void VerifierProcess::cancel() {
  cancelled_ = true;
  process_.end();
}

}  // namespace troupe
