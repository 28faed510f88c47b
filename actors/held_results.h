#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>

#include "common/base/logger.h"

namespace troupe {

/// The finished groups of an actor that the hub has not accepted yet, by lease.
class HeldResults {
 public:
  struct Result {
    std::string frame;
    std::uint64_t tokens = 0;
    std::int64_t since_ms = 0;
    bool sent = false;
  };

  void add(std::uint64_t lease_id, std::string frame, std::uint64_t tokens, std::int64_t now_ms) {
    results_.emplace(lease_id, Result{std::move(frame), tokens, now_ms, false});
  }
  void erase(std::uint64_t lease_id) { results_.erase(lease_id); }
  void clear() { results_.clear(); }
  bool contains(std::uint64_t lease_id) const { return results_.contains(lease_id); }
  const std::map<std::uint64_t, Result>& all() const { return results_; }

  /// The hub is there anew: everything is sent once more.
  void send_again() {
    for (auto& [id, result] : results_) result.sent = false;
  }

  /// Sends as much as the hub takes (`send` says whether it took a frame). A result stays until it is accepted; one that the hub
  /// leaves unanswered for the time of a lease is void by then.
  void send_due(const std::function<bool(const std::string& frame)>& send, std::int64_t now_ms, std::int64_t lease_ms, const Logger& logger);

 private:
  std::map<std::uint64_t, Result> results_;
};

}  // namespace troupe
