#pragma once

#include "actors/engine.h"
#include "common/config/config.h"

namespace troupe {

/// The engine that an actor runs: slots and memory as its own configuration `local` says, the rest as the run's, on `device` (which is
/// that of compute_device). Refers to `tokenizer`.
EngineOptions engine_options(const Config& local, const Config& run, const Tokenizer& tokenizer, at::Device device);

}  // namespace troupe
