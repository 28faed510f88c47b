#include "actors/held_results.h"

#include "common/base/fault.h"

namespace troupe {

void HeldResults::send_due(const std::function<bool(const std::string& frame)>& send, std::int64_t now_ms, std::int64_t lease_ms,
                           const Logger& logger) {
  for (auto next = results_.begin(); next != results_.end();) {
    const auto current = next++;
    Result& result = current->second;
    if (!result.sent) {
      fault::point("actor.result.before");
      if (!send(result.frame)) return;
      fault::point("actor.result.after");
      result.sent = true;
      result.since_ms = now_ms;
    } else if (now_ms - result.since_ms > lease_ms) {
      logger.warning("the hub did not take the result of lease=" + std::to_string(current->first) + " in " +
                     std::to_string(lease_ms / 1000) + " s: dropped");
      results_.erase(current);
    }
  }
}

}  // namespace troupe
