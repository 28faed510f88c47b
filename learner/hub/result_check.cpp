#include "learner/hub/result_check.h"

#include <algorithm>

namespace troupe {
namespace {

std::string text(std::uint64_t number) { return std::to_string(number); }

std::string problem_of(const Completion& c, const LeaseTerms& terms) {
  if (c.token_ids.size() > static_cast<std::uint64_t>(terms.max_tokens)) {
    return "token_ids: expected at most " + std::to_string(terms.max_tokens) + " tokens, found " +
           text(c.token_ids.size());
  }
  const auto highest_id = std::max_element(c.token_ids.begin(), c.token_ids.end());
  if (terms.vocabulary > 0 && highest_id != c.token_ids.end() && *highest_id >= terms.vocabulary) {
    return "token_ids: expected ids below " + std::to_string(terms.vocabulary) + ", found " +
           std::to_string(*highest_id);
  }
  for (const std::uint64_t version : c.versions) {
    if (version >= terms.lowest_version && version <= terms.highest_version) continue;
    return "versions: expected policy versions of " + text(terms.lowest_version) + " to " +
           text(terms.highest_version) + ", found " + text(version);
  }
  return "";
}

}  // namespace

std::string problem_of(const RolloutGroup& rollout, const LeaseTerms& terms) {
  const std::string what = "RolloutGroup of group " + text(rollout.group) + ": completions";
  if (rollout.completions.size() != terms.samples) {
    return what + ": expected " + text(terms.samples) + ", found " + text(rollout.completions.size());
  }
  for (std::size_t s = 0; s < rollout.completions.size(); ++s) {
    const std::string problem = problem_of(rollout.completions[s], terms);
    if (!problem.empty()) return what + "[" + text(s) + "]." + problem;
  }
  return "";
}

std::string problem_of(const ScoredGroup& scored, std::size_t completions) {
  if (scored.scores.size() == completions) return "";
  return "ScoredGroup of group " + text(scored.group) + ": scores: expected " + text(completions) + ", found " +
         text(scored.scores.size());
}

}  // namespace troupe
