#include "rewarders/code/verdict.h"

namespace troupe {

std::string reason_of(const SandboxOutcome& outcome) {
  switch (outcome.end) {
    case SandboxEnd::kTimeLimit: return "time_limit";
    case SandboxEnd::kMemoryLimit: return "memory_limit";
    case SandboxEnd::kOutputLimit: return "output_limit";
    case SandboxEnd::kForbidden: return "forbidden";
    case SandboxEnd::kFailed: return "verifier_failed";
    case SandboxEnd::kExited:
    case SandboxEnd::kKilled: break;
  }
  return "runtime_error";
}

}  // namespace troupe
