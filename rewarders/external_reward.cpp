#include <sys/resource.h>

#include <algorithm>
#include <cctype>
#include <cmath>
#include <iostream>

#include "common/base/error.h"
#include "common/base/strict_json.h"
#include "rewarders/line_process.h"
#include "rewarders/reward_kinds.h"

namespace troupe {
namespace {

/// While it lives, programs that are started may have the memory that this process may not.
class RaisedMemoryLimit {
 public:
  RaisedMemoryLimit() {
    getrlimit(RLIMIT_AS, &own_);
    const rlimit raised{own_.rlim_max, own_.rlim_max};
    setrlimit(RLIMIT_AS, &raised);
  }
  ~RaisedMemoryLimit() { setrlimit(RLIMIT_AS, &own_); }
  RaisedMemoryLimit(const RaisedMemoryLimit&) = delete;
  RaisedMemoryLimit& operator=(const RaisedMemoryLimit&) = delete;

 private:
  rlimit own_{};
};

/// {"value": a finite number or null, "reason": a word}. @throws ConfigError naming what is wrong with it.
Grade grade_in(const std::string& line, const std::string& where) {
  const nlohmann::json answer = parse_json(line, where);
  const std::string reason = json_get_or<std::string>(answer, "reason", "ok", where);
  const bool word = !reason.empty() && reason.size() <= 32 && std::all_of(reason.begin(), reason.end(), [](unsigned char c) {
    return std::islower(c) != 0 || std::isdigit(c) != 0 || c == '_';
  });
  if (!word) throw ConfigError(where + ": expected a word of a-z, 0-9 and _ under \"reason\", found '" + reason + "'");
  if (json_member(answer, "value", where).is_null()) return {std::nullopt, "verifier_failed"};
  const double value = json_get<double>(answer, "value", where);
  if (!std::isfinite(value)) throw ConfigError(where + ": expected a finite number under \"value\"");
  return {value, reason};
}

class ExternalReward final : public Reward {
 public:
  ExternalReward(const std::string& command, double timeout_s)
      : where_("external reward '" + command + "'"),
        timeout_s_(timeout_s),
        // A program that does not look at its input would outlive a verifier that is killed.
        process_({"setpriv", "--pdeathsig", "KILL", "/bin/sh", "-c", "exec " + command}) {}

  std::string prepare() override {
    start();
    return "external program '" + where_.substr(where_.find('\'') + 1);
  }
  double extra_s() const override { return timeout_s_; }

  Grade grade(const GradedItem& item) const override {
    if (!process_.running()) start();
    const nlohmann::json request = {{"row", item.row},
                                    {"completion", item.completion},
                                    {"tokens", item.tokens},
                                    {"cut_off", item.finish_reason == FinishReason::kLength}};
    const Deadline deadline = Deadline::after_s(timeout_s_);
    const bool written = process_.write_line(request.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace), deadline);
    const auto answer = written ? process_.read_line(deadline) : std::nullopt;
    try {
      if (answer) return grade_in(*answer, where_);
      std::cerr << where_ << (deadline.expired() ? ": no answer in time; it is started anew\n" : ": it has ended; it is started anew\n");
    } catch (const ConfigError& error) {
      std::cerr << error.what() << "; it is started anew\n";
    }
    process_.stop();  // what it may still say belongs to this item
    return {std::nullopt, "verifier_failed"};
  }

 private:
  void start() const {
    const RaisedMemoryLimit raised;
    process_.start();
  }

  std::string where_;
  double timeout_s_;
  mutable LineProcess process_;
};

}  // namespace

std::unique_ptr<Reward> make_external(RewardParameters& parameters) {
  const std::string command = parameters.text("command", "");
  if (command.empty()) throw ConfigError("a reward of kind external needs the key `command`");
  return std::make_unique<ExternalReward>(command, parameters.number("timeout_s", 10, 0.01, 3600));
}

}  // namespace troupe
