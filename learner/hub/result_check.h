#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "common/messages/messages.h"

namespace troupe {

// What the hub checks of a result against its lease; what any such message must hold, validate() has checked before.

/// What a rollout must keep to.
struct LeaseTerms {
  std::uint32_t samples = 0;
  std::int64_t max_tokens = 0;
  std::uint64_t lowest_version = 0;   // of a token
  std::uint64_t highest_version = 0;  // likewise
  std::int64_t vocabulary = 0;        // ids are below it; 0: not known
};

/// The first field of `rollout` that breaks the terms, with what was expected and found; "" where all is well.
std::string problem_of(const RolloutGroup& rollout, const LeaseTerms& terms);

/// "" where there is a score for each of so many completions.
std::string problem_of(const ScoredGroup& scored, std::size_t completions);

}  // namespace troupe
