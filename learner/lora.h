#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "common/collective/communicator.h"
#include "common/config/config.h"
#include "common/model/parameters.h"
#include "learner/sharded_optimizer.h"
#include "learner/update_trace.h"

namespace troupe {

/// The tensors of the adapters of `lora` for a model, in the order of the model's: of each target lora_A [rank, in] and lora_B
/// [out, rank], under PEFT's names.
ParameterLayout lora_layout(const LoraConfig& lora, const Architecture& architecture);

/// What a configuration trains: the adapters' layout, or the model's.
ParameterLayout trained_layout(const Config& config, const Architecture& architecture);

/// Low-rank adapters (Hu et al. 2021, "LoRA", eq. 3): each target matrix is W = W0 + alpha / rank B A, W0 frozen. The model
/// computes with the sum itself, in training, sampling and export, so exact mode holds; there is no dropout. One thread at a time.
class LoraAdapters {
 public:
  /// Adapters of `base` (fp32, never changed) that add nothing yet: A uniform in ±1 / sqrt(in), a function of `seed`, as PEFT's
  /// default; B zero.
  LoraAdapters(const LoraConfig& config, Parameters base, std::uint64_t seed);

  /// The adapters, fp32, where `base` lies: what an optimizer trains.
  const Parameters& parameters() const { return adapters_; }

  /// Sets `model` (fp32 or bf16) to base plus adapters, rounded once.
  void merge_into_(const Parameters& model) const;

  /// The adapters' gradients [total] of the model's `gradients` [total of the model], both fp32: with G = dL/dW,
  /// dL/dA = alpha / rank B^T G and dL/dB = alpha / rank G A^T.
  at::Tensor project(const at::Tensor& gradients) const;
  /// Adds to `projected` what follows from the `gradients` of the model's elements from `begin` on, which are whole tensors.
  void add_projection_(const at::Tensor& projected, const at::Tensor& gradients, std::int64_t begin) const;

  /// Writes adapter_model.safetensors and adapter_config.json as PEFT reads them into `folder`, which is made; `base_path` is where
  /// the frozen model is. @throws TransportError.
  void save(const std::filesystem::path& folder, const std::filesystem::path& base_path) const;

 private:
  struct Target {
    ParameterSpec weight;  // of the model
    at::Tensor a;          // [rank, in], a view of the adapters
    at::Tensor b;          // [out, rank]
    std::int64_t a_offset;
    std::int64_t b_offset;
  };

  LoraConfig config_;
  Parameters base_;
  Parameters adapters_;
  double scale_;
  std::vector<Target> targets_;
};

/// The adapters that `config` asks for, on `device`, where the model lies; or nothing.
std::optional<LoraAdapters> make_lora(const Config& config, const Parameters& base, at::Device device = at::kCPU);

/// The optimizer of what is trained: the adapters where there are any, else all of `model`, which is set to `initial` (fp32). Not
/// collective.
ShardedOptimizer make_optimizer(const std::optional<LoraAdapters>& lora, const Parameters& model, const Parameters& initial,
                                const Config& config, const ShardRanks& ranks);

/// Sets `model`, which may be sharded over `communicator` or be a rank's part, to base plus adapters. Not collective.
void merge_(const LoraAdapters& lora, const Parameters& model, const Communicator& communicator);

/// Writes the model as transformers loads it to `folder`/hf, and where there are adapters these, as PEFT loads them, to
/// `folder`/adapter. `master`: the optimizer's whole master parameters, which are the model's where there are no adapters; `start`: the
/// model's folder, for tokenizer and templates.
void export_model(const std::optional<LoraAdapters>& lora, const Architecture& architecture, const at::Tensor& master,
                  const std::filesystem::path& start, const std::filesystem::path& folder);

}  // namespace troupe
