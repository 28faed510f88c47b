#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>

#include "common/base/logger.h"
#include "common/collective/communicator.h"
#include "common/config/config.h"
#include "common/config/run_folder.h"
#include "common/model/architecture.h"
#include "common/model/parameters.h"
#include "common/tokenizer/tokenizer.h"
#include "learner/stages/learner_ranks.h"

namespace troupe {

/// The Hugging Face directory that a run starts from: model.path, or RUN/start where the run makes its own.
std::filesystem::path start_folder(const Config& config, const RunFolder& folder);

/// Where this rank computes (learners.device). @throws ConfigError where there is no such place, or nothing to offload from it.
at::Device learner_device(const Config& config, const Communicator& communicator);

/// Parameters of zeros of the type (model.dtype) and in the place (learners.device, or where they are `offloaded` the host's memory) that
/// this rank computes in: with tensor_parallel its part of the model, at zero_stage 3 its slice of that. @throws ConfigError.
Parameters compute_parameters(const Config& config, const Architecture& architecture, LearnerRanks& ranks, bool offloaded = false);

/// Writes what must be known before the first weights are: RUN/start/config.json and tokenizer files of a cold start.
/// Nothing to do where model.path is given. Rank 0 only.
void prepare_start(const Config& config, const RunFolder& folder);

/// Makes RUN/start's weights by cold start, unless they are there: random weights and cold_start.steps (maybe 0) of SFT. Killed
/// half-way it begins again and ends in the same bits. Collective; false on every rank where `stop` (of any of them) ended it.
bool make_start(const Config& config, const RunFolder& folder, Communicator& communicator, const std::function<bool()>& stop,
                const Logger& logger);

}  // namespace troupe
