#pragma once

#include <string>
#include <vector>

#include "common/base/logger.h"
#include "launch/command_line.h"

namespace troupe {

// The commands of the `troupe` binary, by the file that holds them. Each takes the words after its name and returns the
// process's exit code (PROTOCOL of exit codes: 0 done, 1 failed or a check did not hold, 2 wrong use, 75 resumable).

// supervisor.cpp
int run_command(const std::vector<std::string>& words, const Environment& environment);

// roles.cpp
int learner_command(const std::vector<std::string>& words, const Environment& environment);
int actor_command(const std::vector<std::string>& words, const Environment& environment);
int rewarder_command(const std::vector<std::string>& words, const Environment& environment);
int sft_command(const std::vector<std::string>& words, const Environment& environment);
int pretrain_command(const std::vector<std::string>& words, const Environment& environment);
int dpo_command(const std::vector<std::string>& words, const Environment& environment);
int reward_model_command(const std::vector<std::string>& words, const Environment& environment);

// score_command.cpp, generate_command.cpp
int score_command(const std::vector<std::string>& words);
int generate_command(const std::vector<std::string>& words);

// convert_command.cpp
/// A GGUF file or a Hugging Face directory to a Hugging Face directory of one safetensors file.
int convert_command(const std::vector<std::string>& words);

// row_commands.cpp
int tokenize_command(const std::vector<std::string>& words);

// grade_command.cpp
int grade_command(const std::vector<std::string>& words);

// eval_command.cpp
/// pass@k and majority@k of a model's answers to rows of data.
int eval_command(const std::vector<std::string>& words);

// select_command.cpp
/// Rejection sampling: the good ones of graded answers, as rows for SFT.
int select_command(const std::vector<std::string>& words);

// pipeline_command.cpp
/// Stages in a row, each a command of its own; what is finished is not done again.
int pipeline_command(const std::vector<std::string>& words);

// replay_command.cpp
int replay_command(const std::vector<std::string>& words);

// inspect_command.cpp
int inspect_command(const std::vector<std::string>& words);
int report_command(const std::vector<std::string>& words);
/// The machine and, with a configuration, whether a run of it can start here.
int doctor_command(const std::vector<std::string>& words, const Environment& environment);

}  // namespace troupe
