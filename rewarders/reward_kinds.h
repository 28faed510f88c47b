#pragma once

#include <memory>

#include "rewarders/reward.h"
#include "rewarders/reward_parameters.h"

namespace troupe {

// The kinds of reward, by the file that holds them. Each maker reads its parameters and leaves the rest.

// accuracy_rewards.cpp
/// `math`: 1 where the final answer is the same as the row's gold (maths/equivalence.h), else 0. Parameters: `from`, where the
/// answer is looked for, in order, of those in maths/extraction.h (default tag,boxed,hash,phrase,last); `ordered = true`: a list
/// without brackets must come in the gold's order.
std::unique_ptr<Reward> make_math(RewardParameters& parameters);
/// `exact`: 1 where the final answer is the gold, byte for byte after trimming. Parameter `from` as for math (default
/// tag,boxed,hash); `whole` compares the whole completion.
std::unique_ptr<Reward> make_exact(RewardParameters& parameters);
/// `arithmetic`: 1 where the final answer has the value of the gold or, in a row without one, of the question's expression.
std::unique_ptr<Reward> make_arithmetic(RewardParameters& parameters);
/// `countdown`: 1 where the answer is an expression that uses each of the row's `nums` exactly once and has the value
/// `target` (TinyZero's task). Parameter `partial`: the reward of a well-formed expression with another value (default 0).
std::unique_ptr<Reward> make_countdown(RewardParameters& parameters);
/// `regex`: 1 where the completion matches `pattern` (ECMAScript) somewhere; `full = true`: as a whole. Over 10,000
/// characters count as no match.
std::unique_ptr<Reward> make_regex(RewardParameters& parameters);

// shape_rewards.cpp
/// `format` (DeepSeek-R1, 2.2.2): 1 where the completion is <think>…</think> <answer>…</answer>, each tag exactly once, in
/// order, with only white space around and between.
std::unique_ptr<Reward> make_format(RewardParameters& parameters);
/// `tags` (open-r1's tag_count): a quarter for each of the four tags that is there exactly once.
std::unique_ptr<Reward> make_tags(RewardParameters& parameters);
/// `repetition` (open-r1; Yeo et al. 2025, appendix): max_penalty * (1 - distinct n-grams / n-grams) over lower-cased words;
/// parameters ngram (default 3), max_penalty (default -1). 0 for fewer than n words.
std::unique_ptr<Reward> make_repetition(RewardParameters& parameters);
/// `length` (Yeo et al. 2025, eq. 1): the cosine between two rewards over 0 … max_tokens, one pair for right and one for
/// wrong answers (min_correct 0.5, max_correct 1, min_wrong -1, max_wrong -0.5).
std::unique_ptr<Reward> make_length(RewardParameters& parameters);
/// `overlong` (DAPO, eq. 13): 0 up to max_tokens - buffer tokens, falling to -1 at max_tokens, -1 beyond.
std::unique_ptr<Reward> make_overlong(RewardParameters& parameters);

}  // namespace troupe
