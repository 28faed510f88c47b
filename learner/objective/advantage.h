#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

namespace troupe {

/// The rewards of a group's completions in sample order; nothing where the verifier failed or gave no finite number.
using GroupRewards = std::vector<std::optional<double>>;
/// The advantages in the same order; nothing exactly where the reward is missing: such a completion does not train.
using GroupAdvantages = std::vector<std::optional<double>>;

/// One advantage a completion, over a whole step (before it is cut into mini-batches). Missing rewards enter no mean
/// and no deviation. With r the reward, m and s mean and population standard deviation of the completion's group:
///
///   grpo                   (r - m) / s           DeepSeekMath (arXiv:2402.03300) 4.1.2; R1 (2501.12948) eq. 3
///   no_std                 r - m                 Dr. GRPO (2503.20783) section 3.2
///   rloo                   r - mean of the group's others = (r - m) n / (n - 1)
///                                                RLOO (2402.14740), after Kool et al. 2019
///   reinforce_pp           (r - M) / S           REINFORCE++ (2501.03262); M and S over all completions of the step
///   reinforce_pp_baseline  (a - mean a) / std a over the step, of a = r - m
///                                                REINFORCE++-baseline (ibid.)
///   gae                    r, of which a critic makes advantages of tokens (critic.h): PPO (1707.06347)
///
/// Conventions. The deviation is that of the population (divided by n), as the papers write std of the group; TRL,
/// NeMo RL and others divide by n - 1, which scales grpo by sqrt((n - 1) / n). No epsilon is added to it: where the
/// rewards are equal (`rewards_are_equal`) every advantage is 0. A group with a single reward has advantage 0 wherever
/// a group baseline is used. REINFORCE++ normalises over completions here, so that a long one does not count for more
/// (OpenRLHF: over tokens).
/// @throws ConfigError naming an unknown `kind`.
std::vector<GroupAdvantages> advantages(std::string_view kind, const std::vector<GroupRewards>& step);

/// Whether the rewards that are there teach a group baseline nothing: fewer than two, or all equal up to rounding (a
/// spread of at most 1e-12 + 1e-9 |max r|, so that two ways to sum the same components are not blown up to +-1). The
/// predicate of dynamic sampling (DAPO, 2503.14476, eq. 11, in the form that also serves graded rewards).
bool rewards_are_equal(std::span<const std::optional<double>> rewards);

/// What DAPO's soft overlong punishment (2503.14476 eq. 13) adds to the reward of a completion of `tokens` tokens,
/// times `penalty`: 0 up to max_tokens - buffer, then falling linearly to -penalty at max_tokens. 0 with `buffer` 0.
double overlong_penalty(std::int64_t tokens, std::int64_t max_tokens, std::int64_t buffer, double penalty);

}  // namespace troupe
