#pragma once

#include <doctest/doctest.h>

#include <map>
#include <utility>
#include <vector>

#include "actors/engine.h"

// Requests for small models, and what an engine makes of them.

namespace troupe {

using Completions = std::map<std::uint64_t, std::vector<Completion>>;

inline Request request(std::uint64_t id, std::size_t prompt, std::uint32_t samples, std::int32_t max_tokens) {
  Request result;
  result.id = id;
  for (std::size_t i = 0; i < prompt; ++i)
    result.prompt_ids.push_back(static_cast<std::int32_t>((id * 37 + i * 11) % 104));
  result.samples = samples;
  result.sampling.max_tokens = max_tokens;
  result.sampling.stop_ids = {3, 40};
  result.seed = 12345;
  result.group = 1000 + id;
  return result;
}

inline EngineOptions options(std::int64_t slots, std::int64_t prefill_tokens = 512) {
  EngineOptions result;
  result.slots = slots;
  result.prefill_tokens = prefill_tokens;
  return result;
}

inline void run(Engine& engine, Completions& completions) {
  for (int i = 0; i < 10000 && !engine.idle(); ++i) {
    for (FinishedRequest& finished : engine.step()) completions[finished.id] = std::move(finished.completions);
  }
  CHECK(engine.idle());
}

inline Completions generate(const Parameters& parameters, const std::vector<Request>& requests,
                     const EngineOptions& engine_options) {
  Engine engine(parameters, 1, engine_options);
  for (const Request& r : requests) engine.submit(r);
  Completions completions;
  run(engine, completions);
  return completions;
}

}  // namespace troupe
