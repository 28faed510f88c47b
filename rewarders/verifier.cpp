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

/// The score of one item; a row that cannot be graded is a failed verifier, and says so on standard error.
nlohmann::ordered_json answer_to(const std::string& line, const RewardSet& rewards, const std::vector<RewardConfig>& configs) {
  try {
    const nlohmann::json item = nlohmann::json::parse(line);
    const nlohmann::json row = nlohmann::json::parse(item.at("row").get<std::string>());
    // Bytes that are not UTF-8 were replaced on the way here.
    const std::string completion = item.at("completion");
    return score_to_json(rewards.score(
        {row, completion, item.at("tokens"), item.at("cut_off") ? FinishReason::kLength : FinishReason::kStop}));
  } catch (const std::exception& error) {
    std::cerr << "verifier: " << error.what() << '\n';
    return score_to_json(failed_score(configs));
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
  extra_s_ = RewardSet(rewards_).extra_s();  // a wrong section is an error here, not a failed verifier later
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

std::optional<Score> VerifierProcess::ask(const std::string& line, Deadline deadline) {
  if (!process_.write_line(line, deadline)) return std::nullopt;
  const auto answer = process_.read_line(deadline);
  if (!answer) return std::nullopt;
  try {
    return score_from_json(nlohmann::ordered_json::parse(*answer));
  } catch (const nlohmann::json::exception&) {
    return std::nullopt;
  } catch (const ProtocolError&) {
    return std::nullopt;
  }
}

Score VerifierProcess::score(const std::string& row, const std::string& completion, std::uint32_t tokens, FinishReason finish,
                             double timeout_s) {
  const nlohmann::json item = {
      {"row", row}, {"completion", completion}, {"tokens", tokens}, {"cut_off", finish == FinishReason::kLength}};
  const std::string line = item.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  Score last = failed_score(rewards_);
  for (int attempt = 0; attempt < 2; ++attempt) {
    meet();
    if (cancelled_) break;
    auto score = ask(line, Deadline::after_s(timeout_s + extra_s_));
    if (score && score->reward) return *score;
    if (score) {
      last = *score;
      continue;
    }
    process_.stop();
    if (cancelled_) break;
    ++restarts_;
    start();
  }
  return last;
}

void VerifierProcess::cancel() {
  cancelled_ = true;
  process_.end();
}

}  // namespace troupe
