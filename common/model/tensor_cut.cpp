#include "common/model/tensor_cut.h"

#include <algorithm>
#include <functional>
#include <numeric>
#include <utility>

#include "common/base/error.h"

namespace troupe {

Architecture part_of(const Architecture& whole, int ranks, const std::string& key) {
  Architecture part = whole;
  const auto divide = [&](std::int64_t& number, const char* name) {
    if (number % ranks != 0) {
      throw ConfigError(key + " = " + std::to_string(ranks) + ": expected a divisor of the model's " + name + ", " + std::to_string(number));
    }
    number /= ranks;
  };
  divide(part.heads, "num_attention_heads");
  divide(part.kv_heads, "num_key_value_heads");
  divide(part.intermediate, "intermediate_size");
  return part;
}

std::vector<PartRun> part_runs(const ParameterLayout& whole, const ParameterLayout& part, int rank) {
  std::vector<PartRun> runs;
  for (std::size_t i = 0; i < whole.tensors.size(); ++i) {
    const ParameterSpec &all = whole.tensors[i], &own = part.tensors[i];
    const auto cut = std::mismatch(all.shape.begin(), all.shape.end(), own.shape.begin()).first;
    const std::int64_t rows = cut == all.shape.end() ? 1 : std::accumulate(all.shape.begin(), cut, std::int64_t{1}, std::multiplies<>());
    const std::int64_t count = own.numel / rows, stride = all.numel / rows, first = count < stride ? rank * count : 0;
    for (std::int64_t row = 0; row < rows; ++row) runs.push_back({own.offset + row * count, all.offset + row * stride + first, count});
  }
  return runs;
}

TensorCut::TensorCut(const Architecture& whole, std::shared_ptr<TensorGroup> group)
    : whole_(whole), part_(part_of(whole, group->size())), whole_layout_(whole_), part_layout_(part_), group_(std::move(group)) {}

template <typename Copy>
void TensorCut::each_tensor(std::int64_t unit, const at::Tensor& whole, int rank, const at::Tensor& part, const Copy& copy) const {
  const auto number = static_cast<std::size_t>(unit);
  const std::int64_t whole_begin = whole_layout_.units[number], part_begin = part_layout_.units[number];
  for (std::size_t i = 0; i < whole_layout_.tensors.size(); ++i) {
    const ParameterSpec &all = whole_layout_.tensors[i], &own = part_layout_.tensors[i];
    if (all.offset < whole_begin || all.offset >= whole_layout_.units[number + 1]) continue;
    at::Tensor theirs = whole.narrow(0, all.offset - whole_begin, all.numel).view(all.shape);
    for (std::size_t d = 0; d < all.shape.size(); ++d) {
      if (own.shape[d] != all.shape[d]) theirs = theirs.narrow(static_cast<std::int64_t>(d), rank * own.shape[d], own.shape[d]);
    }
    copy(theirs, part.narrow(0, own.offset - part_begin, own.numel).view(own.shape));
  }
}

void TensorCut::take_(std::int64_t unit, const at::Tensor& whole, int rank, const at::Tensor& part) const {
  each_tensor(unit, whole, rank, part, [](const at::Tensor& theirs, const at::Tensor& own) { own.copy_(theirs); });
}

void TensorCut::put_(std::int64_t unit, const at::Tensor& part, int rank, const at::Tensor& whole) const {
  each_tensor(unit, whole, rank, part, [](const at::Tensor& theirs, const at::Tensor& own) { theirs.copy_(own); });
}

}  // namespace troupe
