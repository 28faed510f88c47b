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
/// `regex`: 1 where the completion matches `pattern` (pattern.h: as ECMAScript has it, within a bound of steps) somewhere;
/// `full = true`: as a whole.
std::unique_ptr<Reward> make_regex(RewardParameters& parameters);

// code_reward.cpp
/// `code`: 1 where the program in the completion passes all tests of the row; `score = share`: the share that it passes. Rows have
/// `test` (defines check(candidate)), `entry_point` and `prompt`, as HumanEval; `test_list` with `test_setup_code` or `test_imports`,
/// as MBPP; or `tests`, a list of {"input", "output"}. `lang` is python (default) or cpp; cpp takes `tests` only, also with `entry_point`
/// and {"args", "output"}, the calls of a function. Parameters time_s
/// (10; of all tests together) and memory_mib (1024). Runs in a sandbox (sandbox.h), or not at all.
std::unique_ptr<Reward> make_code(RewardParameters& parameters);

// external_reward.cpp
/// `external`: what a program of the user's says. It runs under /bin/sh as `command` and stays; for each completion it gets a line
/// {"row", "completion", "tokens", "cut_off"} and answers within timeout_s (10) by a line {"value": number, "reason": word}; a value
/// of null means that it failed. One that dies, is late or answers something else is started anew; the completion has no value then.
std::unique_ptr<Reward> make_external(RewardParameters& parameters);

// text_rewards.cpp
/// `language` (DeepSeek-R1, 2.3.2): the share of the chain of thought's words that are in the target language (language_share.h): the
/// row's `language`, else the parameter `language`, else the language of the row's question.
std::unique_ptr<Reward> make_language(RewardParameters& parameters);
/// `readability`: the share of five signs of a readable answer that hold: no control characters and nothing that is not UTF-8; fences
/// and \( \), \[ \], $$ closed; no line four times; no word over 60 letters; no paragraph over 2,000 characters.
std::unique_ptr<Reward> make_readability(RewardParameters& parameters);
/// `json`: 1 where the last fenced block, or else the <answer>, or else the completion is JSON and fits the row's `schema`, or else the
/// one in the file that the parameter `schema` names, or else any (json_schema.h).
std::unique_ptr<Reward> make_json(RewardParameters& parameters);

// model_reward.cpp
/// `model`: the score of the reward model in the folder `path` (of `troupe reward-model`, or any …ForSequenceClassification of one label
/// of a known family), for the row's question and the completion. `reads`: response (default), as harmlessness is judged, or summary,
/// what stands behind the chain of thought, as helpfulness is (DeepSeek-R1, 2.3.4; no_answer where there is none, and the model scores an
/// empty one). device (as rewarders.device), dtype (fp32 or bf16; bf16 with device = cuda), threads (1),
/// time_s (60). The completions of a group go through the model together; which they
/// are changes no bit of a score.
std::unique_ptr<Reward> make_model(RewardParameters& parameters);

// judge_reward.cpp
/// `judge`: what a language model says, over HTTP or HTTPS in the form of OpenAI's chat completions. `url` and `model` name it;
/// `api_key_file` holds its key; `prompt_file` is the Jinja template of what it is asked, of question, gold, response, summary and row;
/// `pattern` (as for regex, in any letter case, one group; default \[\[(-?[0-9.]+)\]\]) finds the score in the reply, its last match counts; `values`, e.g.
/// safe=1,unsafe=0, makes words of it numbers. temperature (0), max_tokens (1024), timeout_s (60; of a completion, retries included),
/// retries (3) after connections that fail, 429, 5xx and replies without a score, backoff_s (0.5, doubled each time, or as the server's
/// Retry-After says), concurrency (4), cache: a file that keeps what was answered.
std::unique_ptr<Reward> make_judge(RewardParameters& parameters);

// shape_rewards.cpp
/// `format` (DeepSeek-R1, 2.2.2): 1 where the completion is <think>…</think> <answer>…</answer>, each tag exactly once, in
/// order, with only white space around and between.
std::unique_ptr<Reward> make_format(RewardParameters& parameters);
/// `tags` (open-r1's tag_count): a quarter for each of the four tags that is there exactly once.
std::unique_ptr<Reward> make_tags(RewardParameters& parameters);
/// `repetition` (open-r1; Yeo et al. 2025, appendix): max_penalty * (1 - distinct n-grams / n-grams) over lower-cased words,
/// of which each Han character and kana is one; parameters ngram (default 3), max_penalty (default -1). 0 for fewer than n words.
std::unique_ptr<Reward> make_repetition(RewardParameters& parameters);
/// `length` (Yeo et al. 2025, eq. 1): the cosine between two rewards over 0 … max_tokens, one pair for right and one for
/// wrong answers (min_correct 0.5, max_correct 1, min_wrong -1, max_wrong -0.5).
std::unique_ptr<Reward> make_length(RewardParameters& parameters);
/// `overlong` (DAPO, eq. 13): 0 up to max_tokens - buffer tokens, falling to -1 at max_tokens, -1 beyond.
std::unique_ptr<Reward> make_overlong(RewardParameters& parameters);

}  // namespace troupe
