#include "learner/adam_state.h"

#include <ATen/ATen.h>

#include <map>

#include "common/base/error.h"
#include "common/model/safetensors.h"

namespace troupe {

AdamState whole_state(ShardedOptimizer& optimizer) {
  AdamState state;
  state.master = optimizer.gather(optimizer.master(), "parameters of a state");
  state.exp_avg = optimizer.gather(optimizer.exp_avg(), "first moments of a state");
  state.exp_avg_sq = optimizer.gather(optimizer.exp_avg_sq(), "second moments of a state");
  state.updates = optimizer.updates();
  return state;
}

void restore_(ShardedOptimizer& optimizer, const AdamState& state) {
  const auto own = [&](const at::Tensor& whole) { return optimizer.map().slice_of(whole, optimizer.communicator().rank()); };
  optimizer.restore(own(state.master), own(state.exp_avg), own(state.exp_avg_sq), state.updates);
}

void write_state(const AdamState& state, const std::filesystem::path& file) {
  write_safetensors(file, {{"master", state.master},
                           {"exp_avg", state.exp_avg},
                           {"exp_avg_sq", state.exp_avg_sq},
                           {"updates", at::full({1}, state.updates, at::kLong)}});
}

AdamState read_state(const std::filesystem::path& file, std::int64_t total) {
  const auto tensors = read_safetensors(file);
  const auto of = [&](const char* name, std::int64_t numel, at::ScalarType type) {
    const auto found = tensors.find(name);
    if (found != tensors.end() && found->second.numel() == numel && found->second.scalar_type() == type) return found->second;
    throw ConfigError(file.string() + ": expected the tensor " + name + " of " + std::to_string(numel) + " elements, found " +
                      (found == tensors.end() ? "none" : "one of " + std::to_string(found->second.numel())));
  };
  return {of("master", total, at::kFloat), of("exp_avg", total, at::kFloat), of("exp_avg_sq", total, at::kFloat),
          of("updates", 1, at::kLong).item<std::int64_t>()};
}

}  // namespace troupe
