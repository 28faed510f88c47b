#pragma once

#include "actors/engine.h"
#include "common/config/config.h"

namespace troupe {

/// The engine that an actor runs: slots, memory and device as its own configuration `local` says, the rest as the run's. `dtype` is that
/// of the weights; actors take GPUs in turn by `rank`. Refers to `tokenizer`. @throws ConfigError as compute_device.
EngineOptions engine_options(const Config& local, const Config& run, const Tokenizer& tokenizer, at::ScalarType dtype, std::int64_t rank);

}  // namespace troupe
