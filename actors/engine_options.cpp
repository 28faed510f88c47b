#include "actors/engine_options.h"

#include <algorithm>

namespace troupe {

EngineOptions engine_options(const Config& local, const Config& run, const Tokenizer& tokenizer, at::Device device) {
  EngineOptions options;
  options.slots = local.actors.slots;
  options.kv_memory_gib = local.actors.kv_memory_gib;
  options.on_gpu = device.is_cuda();
  options.max_tokens = run.data.max_prompt_tokens + run.sampling.max_tokens;
  options.on_new_weights = on_new_weights_named(run.actors.on_new_weights);
  options.exact = run.run.exact;
  options.tensor_parallel = run.actors.tensor_parallel;
  options.tokenizer = &tokenizer;
  return options;
}

std::int64_t first_gpu(std::int64_t index, std::optional<std::int64_t> local_rank, std::int64_t learners_here, std::int64_t gpus) {
  if (!local_rank) return learners_here + index * gpus;
  const std::int64_t before = std::min(learners_here, *local_rank);
  return before + (*local_rank - before) * gpus;
}

}  // namespace troupe
