#pragma once

#include <cstddef>
#include <string>

#include "rewarders/sandbox/sandbox.h"

namespace troupe {

/// What the tests of one program say.
struct Verdict {
  std::size_t passed = 0;
  std::size_t total = 0;
  std::string reason;  // ok, wrong, runtime_error, compile_error, time_limit, memory_limit, output_limit, forbidden, verifier_failed
};

/// The reason for an end that is not a good one.
std::string reason_of(const SandboxOutcome& outcome);

}  // namespace troupe
