#include "rewarders/verifier.h"

#include <fcntl.h>
#include <poll.h>
#include <csignal>
#include <spawn.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <filesystem>
#include <iostream>

#include "common/base/error.h"
#include "rewarders/reward.h"
#include "rewarders/score_json.h"

extern char** environ;

namespace troupe {
namespace {

constexpr rlim_t kMemoryLimitBytes = rlim_t{2} << 30;

void limit_this_process() {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  const rlimit memory{kMemoryLimitBytes, kMemoryLimitBytes};
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

std::array<FileDescriptor, 2> make_pipe() {
  std::array<int, 2> ends{};
  if (pipe2(ends.data(), O_CLOEXEC) != 0) throw TransportError("cannot make a pipe to a verifier process");
  return {FileDescriptor(ends[0]), FileDescriptor(ends[1])};
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
  const RewardSet rewards(configs);
  while (std::getline(std::cin, line)) std::cout << answer_to(line, rewards, configs).dump() << '\n' << std::flush;
  return 0;
}

VerifierProcess::VerifierProcess(const std::vector<RewardConfig>& rewards, std::vector<std::string> command)
    : rewards_(rewards), command_(std::move(command)) {
  const RewardSet checked(rewards_);  // a wrong section is an error here, not a failed verifier later
  start();
}

VerifierProcess::~VerifierProcess() { stop(); }

void VerifierProcess::start() {
  auto input = make_pipe();
  auto output = make_pipe();
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, input[0].get(), STDIN_FILENO);
  posix_spawn_file_actions_adddup2(&actions, output[1].get(), STDOUT_FILENO);
  std::vector<char*> arguments;
  for (std::string& word : command_) arguments.push_back(word.data());
  arguments.push_back(nullptr);
  const int failure = posix_spawn(&pid_, command_.front().c_str(), &actions, nullptr, arguments.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  if (failure != 0) {
    pid_ = -1;
    throw TransportError("cannot start the verifier process " + command_.front());
  }
  to_child_ = std::move(input[1]);
  from_child_ = std::move(output[0]);
  pending_.clear();
  const std::string first = rewards_to_json(rewards_).dump() + "\n";
  write_all(to_child_.get(), std::as_bytes(std::span(first)), "a verifier process");
}

void VerifierProcess::stop() {
  if (pid_ < 0) return;
  kill(pid_, SIGKILL);
  waitpid(pid_, nullptr, 0);
  pid_ = -1;
  to_child_ = FileDescriptor();
  from_child_ = FileDescriptor();
}

std::optional<std::string> VerifierProcess::read_line(Deadline deadline) {
  for (;;) {
    const std::size_t end = pending_.find('\n');
    if (end != std::string::npos) {
      std::string line = pending_.substr(0, end);
      pending_.erase(0, end + 1);
      return line;
    }
    pollfd waiting{from_child_.get(), POLLIN, 0};
    if (poll(&waiting, 1, static_cast<int>(deadline.remaining_ms())) <= 0) return std::nullopt;
    std::array<char, 65536> buffer{};
    const ssize_t got = read(from_child_.get(), buffer.data(), buffer.size());
    if (got <= 0) return std::nullopt;
    pending_.append(buffer.data(), static_cast<std::size_t>(got));
  }
}

std::optional<Score> VerifierProcess::ask(const std::string& line, Deadline deadline) {
  try {
    write_all(to_child_.get(), std::as_bytes(std::span(line)), "a verifier process");
    const auto answer = read_line(deadline);
    if (!answer) return std::nullopt;
    return score_from_json(nlohmann::ordered_json::parse(*answer));
  } catch (const TransportError&) {
    return std::nullopt;  // it died: the pipe is closed
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
  const std::string line = item.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
  for (int attempt = 0; attempt < 2; ++attempt) {
    if (auto score = ask(line, Deadline::after_s(timeout_s))) return *score;
    stop();
    ++restarts_;
    start();
  }
  return failed_score(rewards_);
}

}  // namespace troupe
