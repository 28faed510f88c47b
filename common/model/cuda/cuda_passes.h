#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include <ATen/core/Tensor.h>

#include "common/model/gradient_units.h"
#include "common/model/kv_cache.h"
#include "common/model/model_offsets.h"
#include "common/model/parameters.h"

// T rows, N rows of logits, H hidden, V vocabulary.

namespace troupe {

struct Activations;
struct PackedSequences;
class CudaActivations;
class PackedInputs;
namespace cuda {
struct QkvRows;
}

/// Rows that each continue a sequence of their own by one token, described in the memory of the GPU, so that a CUDA graph of them
/// can be run again on other numbers. [T] each; see cuda/decode_attention.h.
struct DecodeInputs {
  at::Tensor ids;            // int64
  at::Tensor positions;      // int32
  at::Tensor slots;          // int32; negative: a row that fills the batch up
  at::Tensor lengths;        // int32; 0 for such a row
  at::Tensor shared_tokens;  // int32
  at::Tensor pages;          // int32 [T, pages of a sequence]
};

/// The passes of Transformer over bf16 parameters in the memory of a GPU. The arithmetic is the CPU's (bf16 operands, fp32 sums and
/// residual streams), the order of sums is not.
class CudaPasses {
 public:
  /// Shares the parameters; where they are sharded each pass is collective and gathers them a unit at a time. `exact`: a row's bits do not depend on the other rows.
  /// @throws ConfigError for parameters that are not bf16, or sizes that the kernels do not take.
  CudaPasses(const Parameters& parameters, bool exact);

  /// Transformer's methods. `ids_T` may lie on the CPU.
  at::Tensor forward(const PackedSequences& batch, const at::Tensor& rope, Activations* saved) const;
  void backward(const PackedSequences& batch, const at::Tensor& rope, const Activations& saved, const at::Tensor& grad_hidden_TH,
                GradientUnits& gradients) const;
  at::Tensor forward_cached(const at::Tensor& ids_T, std::span<const CachedRun> runs, const at::Tensor& rope, KvCache& cache) const;
  at::Tensor logits(const at::Tensor& hidden_NH) const;

  /// Whether `decode` serves this model's heads.
  bool decodes() const;
  /// One token for each row's sequence: [T, H]. Nothing but launches of kernels, so it can be captured. `rope` lies on the GPU.
  at::Tensor decode(const DecodeInputs& inputs, const at::Tensor& rope, KvCache& cache) const;

 private:
  class Backward;
  struct Block {
    at::Tensor attention_norm, qkv, qkv_bias, q_norm, k_norm, output, mlp_norm, gate_up, down;  // views; undefined: not there
  };
  struct Batch {
    const std::int64_t* ids;
    const std::int32_t* positions;
    const std::int32_t* slots = nullptr;
    KvCache* cache = nullptr;
    bool attention_finishes = false;  // bias, norms and rotation of q, k and v are the attention's work
  };
  /// Makes the parameters of a unit the present ones, which those of whole parameters always are, and has those of `next` (-1: none)
  /// gathered meanwhile.
  void enter(std::int64_t unit, std::int64_t next) const;
  /// The next unit of a forward pass, or -1.
  std::int64_t after(std::int64_t unit) const { return unit <= architecture_.layers ? unit + 1 : -1; }
  /// Of a block that was entered.
  Block& block(std::int64_t layer) const { return blocks_[parameters_.sharded() ? 0 : static_cast<std::size_t>(layer)]; }
  /// Makes the views of a unit's parameters, `values`.
  void view(std::int64_t unit, const at::Tensor& values) const;
  /// `attend(layer)` gives the attended rows [T, heads D] once qkv(layer) is complete.
  template <typename Attend>
  at::Tensor run(const CudaActivations& buffers, const Batch& rows, const at::Tensor& rope, const Attend& attend) const;
  /// The same by the kernels of few_rows.h, where `few` says that they serve.
  template <typename Attend>
  at::Tensor run_few(const CudaActivations& buffers, const Batch& rows, const Attend& attend) const;
  bool few(std::int64_t rows) const;
  /// The attended rows [T, heads, D] of packed sequences, and the log-sum-exps.
  std::pair<at::Tensor, at::Tensor> attend_packed(const CudaActivations& buffers, std::int64_t layer, const PackedInputs& inputs) const;
  cuda::QkvRows qkv_rows(const CudaActivations& buffers, const Batch& rows, const at::Tensor& rope, std::int64_t layer) const;
  at::Tensor attend_decoding(const CudaActivations& buffers, const Batch& batch, const at::Tensor& rope, std::int64_t layer,
                             const DecodeInputs& inputs, const at::Tensor& attended) const;
  /// `activated` of the block's normed rows.
  void activate(const CudaActivations& buffers, std::int64_t layer) const;
  void add_and_norm(const CudaActivations& buffers, std::int64_t stream, const at::Tensor& delta) const;
  /// out [T, H] := what `product` puts into its argument; where ranks hold the model together, of the first `rows` the sum of their
  /// products, rounded once.
  void multiply_jointly(const at::Tensor& out, std::int64_t rows, const std::function<void(const at::Tensor& out)>& product) const;

  Architecture architecture_;
  ModelOffsets offsets_;
  std::vector<std::int64_t> units_;  // where each begins
  bool exact_;
  const Parameters parameters_;
  const TensorCut* cut_;  // null where this is the whole model
  // Of sharded parameters what was entered last: one block.
  mutable at::Tensor embedding_, final_norm_, head_;
  mutable std::vector<Block> blocks_;
};

}  // namespace troupe
