#pragma once

#include <cstdint>
#include <optional>

#include "actors/engine.h"
#include "common/config/config.h"

namespace troupe {

/// The engine that an actor runs: slots and memory as its own configuration `local` says, the rest as the run's, on `device` (which
/// is that of compute_device). Refers to `tokenizer`.
EngineOptions engine_options(const Config& local, const Config& run, const Tokenizer& tokenizer, at::Device device);

/// The number, on its host, of the first of an actor's `gpus` GPUs: behind the learners', one each, and those of the actors before
/// it. `local_rank` counts the job's learners and actors there, in this order.
std::int64_t first_gpu(std::int64_t index, std::optional<std::int64_t> local_rank, std::int64_t learners_here, std::int64_t gpus);

}  // namespace troupe
