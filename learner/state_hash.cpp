#include "learner/state_hash.h"

#include <algorithm>

#include "common/base/checksum.h"
#include "common/base/error.h"

namespace troupe {
namespace {

std::span<const float> values_of(const ParameterSpec& spec, const at::Tensor& flat) {
  return {flat.const_data_ptr<float>() + spec.offset, static_cast<std::size_t>(spec.numel)};
}

void add_tensors(Hasher& hasher, const ParameterLayout& layout, const at::Tensor& flat) {
  check(flat.scalar_type() == at::kFloat && flat.numel() == layout.total && flat.is_contiguous(),
        "a hash is over the whole flat fp32 vector");
  std::vector<const ParameterSpec*> by_name;
  for (const ParameterSpec& spec : layout.tensors) by_name.push_back(&spec);
  std::sort(by_name.begin(), by_name.end(), [](const auto* a, const auto* b) { return a->name < b->name; });
  for (const ParameterSpec* spec : by_name) hasher.update(std::as_bytes(values_of(*spec, flat)));
}

void add_gathered(Hasher& hasher, ShardedOptimizer& optimizer, const at::Tensor& slice, std::string_view name) {
  const at::Tensor whole = optimizer.gather(slice, name);
  if (optimizer.communicator().rank() == 0) add_tensors(hasher, optimizer.layout(), whole);
}

std::string on_rank_0(const Hasher& hasher, const ShardedOptimizer& optimizer) {
  return optimizer.communicator().rank() == 0 ? hasher.hex() : "";
}

}  // namespace

std::string weights_hash(const ParameterLayout& layout, const at::Tensor& flat) {
  Hasher hasher;
  add_tensors(hasher, layout, flat);
  return hasher.hex();
}

WeightsDigest weights_digest(const ParameterLayout& layout, const at::Tensor& flat) {
  WeightsDigest digest{weights_hash(layout, flat), {}};
  for (const ParameterSpec& spec : layout.tensors) digest.tensors.push_back(xxh3_64(std::as_bytes(values_of(spec, flat))));
  return digest;
}

WeightsDigest weights_digest(ShardedOptimizer& optimizer) {
  const at::Tensor whole = optimizer.gather(optimizer.master(), "parameters for their hash");
  if (optimizer.communicator().rank() != 0) return {};
  return weights_digest(optimizer.layout(), whole);
}

std::string final_hash(ShardedOptimizer& optimizer, std::span<const TrainedStep> steps) {
  Hasher hasher;
  add_gathered(hasher, optimizer, optimizer.master(), "parameters for the final hash");
  add_gathered(hasher, optimizer, optimizer.exp_avg(), "first moments for the final hash");
  add_gathered(hasher, optimizer, optimizer.exp_avg_sq(), "second moments for the final hash");
  for (const TrainedStep& step : steps) {
    hasher.update_u64(static_cast<std::uint64_t>(step.step));
    for (const auto& [group, content_hash] : step.groups) {
      hasher.update_u64(group);
      hasher.update(content_hash);
    }
  }
  return on_rank_0(hasher, optimizer);
}

}  // namespace troupe
