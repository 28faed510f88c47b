#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>

#include "common/base/logger.h"
#include "common/config/config.h"
#include "learner/stages/supervised.h"

namespace troupe {

enum class SupervisedKind { kSft, kPretrain, kDpo };

/// "sft", "pretrain", "dpo": the stage's command.
const char* name_of(SupervisedKind kind);

/// What a supervised stage is trained and tested on. Copies share what they read from. Any thread.
struct StageUnits {
  std::function<SupervisedUnit(std::uint64_t number)> train;  // in training order
  std::function<SupervisedUnit(std::uint64_t index)> held_out;
  std::uint64_t held_out_units = 0;  // 0: there are none
};

/// Opens data.train and data.eval for the model in `model_folder`: rows of prompt and completion or of messages (SFT), of prompt,
/// chosen and rejected (DPO), or texts (pretraining). Where `checks` says so every row is looked at first: rows that are longer
/// than data.max_prompt_tokens or the model's positions are refused, or counted where data.long_prompts is drop.
/// @throws ConfigError naming key, file and row.
StageUnits open_units(SupervisedKind kind, const Config& config, const std::filesystem::path& model_folder, bool checks,
                      const Logger& logger);

}  // namespace troupe
