#include "learner/update_trace.h"

#include <ATen/Functions.h>

#include <algorithm>
#include <utility>

#include "common/base/error.h"
#include "common/model/safetensors.h"

// T tokens of all sequences, S sequences.

namespace troupe {
namespace {

using NamedTensors = std::vector<std::pair<std::string, at::Tensor>>;

template <class T>
void append(std::vector<T>& all, const at::Tensor& part) {
  const T* const first = part.const_data_ptr<T>();
  all.insert(all.end(), first, first + part.numel());
}

/// The ranks' vectors, one after the other.
template <class T>
std::vector<T> gathered(const std::vector<T>& own, Communicator& ranks) {
  const auto rank = static_cast<std::size_t>(ranks.rank());
  std::vector<std::uint64_t> sizes(static_cast<std::size_t>(ranks.size()), 0);
  sizes[rank] = own.size();
  ranks.all_gather(std::as_bytes(std::span(sizes).subspan(rank, 1)), std::as_writable_bytes(std::span(sizes)), "trace sizes");
  const std::uint64_t longest = *std::max_element(sizes.begin(), sizes.end());
  std::vector<T> padded(longest * sizes.size());
  std::copy(own.begin(), own.end(), padded.begin() + static_cast<std::ptrdiff_t>(rank * longest));
  ranks.all_gather(std::as_bytes(std::span(padded).subspan(rank * longest, longest)), std::as_writable_bytes(std::span(padded)),
                   "trace");
  std::vector<T> all;
  for (std::size_t r = 0; r < sizes.size(); ++r) {
    const auto part = std::span<const T>(padded).subspan(r * longest, sizes[r]);
    all.insert(all.end(), part.begin(), part.end());
  }
  return all;
}

template <class T>
at::Tensor tensor_of(const std::vector<T>& values) {
  return at::tensor(values, c10::CppTypeToScalarType<T>::value);
}

/// The flat vector as its tensors.
NamedTensors by_name(const ParameterLayout& layout, const at::Tensor& flat) {
  NamedTensors tensors;
  for (const ParameterSpec& spec : layout.tensors) {
    tensors.emplace_back(spec.name, flat.narrow(0, spec.offset, spec.numel).view(spec.shape));
  }
  return tensors;
}

/// How the tokens of a dump lie: a place for every token of every sequence.
struct TokenPlaces {
  explicit TokenPlaces(const UpdateTrace& trace) {
    for (std::size_t s = 0; s < trace.sequence_tokens.size(); ++s) {
      for (std::int64_t t = 0; t < trace.sequence_tokens[s]; ++t) {
        if (t >= trace.prompt_tokens[s]) completion.push_back(static_cast<std::int64_t>(positions.size()));
        positions.push_back(t);
      }
      starts.push_back(static_cast<std::int64_t>(positions.size()));
    }
  }

  /// [T]: the completion tokens' values at their places, 0 at the prompts'.
  at::Tensor spread(const std::vector<float>& values) const {
    at::Tensor all = at::zeros({static_cast<std::int64_t>(positions.size())}, at::kFloat);
    return all.index_put_({tensor_of(completion)}, tensor_of(values));
  }

  std::vector<std::int64_t> starts = {0};
  std::vector<std::int64_t> positions;
  std::vector<std::int64_t> completion;  // the places of completion tokens
};

}  // namespace

void UpdateTrace::add(std::span<const TokenSequence> sequences, const TokenLogprobs& tokens) {
  for (const TokenSequence& sequence : sequences) {
    sequence_tokens.push_back(static_cast<std::int64_t>(sequence.ids.size()));
    prompt_tokens.push_back(sequence.prompt_tokens);
    ids.insert(ids.end(), sequence.ids.begin(), sequence.ids.end());
  }
  append(logprobs, tokens.logp_N);
  append(entropy, tokens.entropy_N);
}

void UpdateTrace::add_policy(std::span<const Trajectory> micro_batch, const TokenBatch& batch) {
  for (const Trajectory& trajectory : micro_batch) rewards.push_back(static_cast<float>(trajectory.reward));
  sampler_logprobs.insert(sampler_logprobs.end(), batch.sampler_logp.begin(), batch.sampler_logp.end());
  old_logprobs.insert(old_logprobs.end(), batch.old_logp.begin(), batch.old_logp.end());
  reference_logprobs.insert(reference_logprobs.end(), batch.ref_logp.begin(), batch.ref_logp.end());
  for (const double advantage : batch.advantage) advantages.push_back(static_cast<float>(advantage));
  for (const double weight : batch.weight) token_weights.push_back(static_cast<float>(weight));
}

OptimizerStep traced_step(ShardedOptimizer& optimizer, const std::function<OptimizerStep()>& update, UpdateTrace* trace) {
  if (trace == nullptr) return update();
  trace->weights_before = optimizer.gather(optimizer.master(), "parameters for a trace");
  const OptimizerStep result = update();
  trace->gradients = optimizer.gather(optimizer.gradient(), "gradients for a trace");
  trace->weights_after = optimizer.gather(optimizer.master(), "parameters for a trace");
  return result;
}

UpdateTrace joined(UpdateTrace own, Communicator& communicator) {
  for (auto* part : {&own.sequence_tokens, &own.prompt_tokens, &own.ids}) *part = gathered(*part, communicator);
  for (auto* part : {&own.rewards, &own.sampler_logprobs, &own.old_logprobs, &own.reference_logprobs, &own.advantages,
                     &own.token_weights, &own.logprobs, &own.entropy}) {
    *part = gathered(*part, communicator);
  }
  std::vector<double> loss = {own.loss};
  communicator.all_reduce_sum(std::span(loss), "trace loss");
  own.loss = loss[0];
  return own;
}

void write_dump(const std::filesystem::path& folder, const ParameterLayout& layout, const UpdateTrace& trace,
                std::map<std::string, std::string> metadata) {
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (error) throw ConfigError("--dump " + folder.string() + ": cannot be made: " + error.message());
  const TokenPlaces places(trace);
  NamedTensors batch = {{"ids", tensor_of(trace.ids)},
                        {"positions", tensor_of(places.positions)},
                        {"sequence_starts", tensor_of(places.starts)},
                        {"completion_mask", places.spread(std::vector<float>(places.completion.size(), 1.0F)).to(at::kBool)}};
  if (!trace.rewards.empty()) batch.emplace_back("rewards", tensor_of(trace.rewards));
  const std::pair<const char*, const std::vector<float>*> parts[] = {{"sampler_logprobs", &trace.sampler_logprobs},
                                                                     {"old_logprobs", &trace.old_logprobs},
                                                                     {"reference_logprobs", &trace.reference_logprobs},
                                                                     {"advantages", &trace.advantages},
                                                                     {"token_weights", &trace.token_weights}};
  for (const auto& [name, values] : parts) {
    if (!values->empty()) batch.emplace_back(name, places.spread(*values));
  }
  metadata["format"] = "pt";
  write_safetensors(folder / "batch.safetensors", batch, metadata);
  NamedTensors forward = {{"loss", at::scalar_tensor(trace.loss, at::kFloat)}};
  if (!trace.logprobs.empty()) forward.emplace_back("logprobs", places.spread(trace.logprobs));
  if (!trace.entropy.empty()) forward.emplace_back("entropy", places.spread(trace.entropy));
  write_safetensors(folder / "forward.safetensors", forward);
  write_safetensors(folder / "gradients.safetensors", by_name(layout, trace.gradients));
  write_safetensors(folder / "weights_before.safetensors", by_name(layout, trace.weights_before));
  write_safetensors(folder / "weights_after.safetensors", by_name(layout, trace.weights_after));
}

}  // namespace troupe
