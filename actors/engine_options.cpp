#include "actors/engine_options.h"

namespace troupe {

EngineOptions engine_options(const Config& local, const Config& run, const Tokenizer& tokenizer, at::Device device) {
  EngineOptions options;
  options.slots = local.actors.slots;
  options.kv_memory_gib = local.actors.kv_memory_gib;
  options.on_gpu = device.is_cuda();
  options.max_tokens = run.data.max_prompt_tokens + run.sampling.max_tokens;
  options.on_new_weights = on_new_weights_named(run.actors.on_new_weights);
  options.exact = run.run.exact;
  options.tokenizer = &tokenizer;
  return options;
}

}  // namespace troupe
