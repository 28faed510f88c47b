#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <variant>
#include <vector>

#include <ATen/core/Tensor.h>

#include "common/model/gradient_units.h"
#include "common/model/kv_cache.h"
#include "common/model/model_offsets.h"
#include "common/model/packed_weights.h"
#include "common/model/parameters.h"

// Dimensions: T packed tokens of all sequences, S sequences, H hidden, V vocabulary.
// The one definition of the model: the actor runs forward_cached, the learner forward and backward; both go through the same
// kernels (kernels/), whose result for a row depends on that row and, in attention, the earlier rows of its sequence alone.

namespace troupe {

/// Sequences packed without padding. One may go on behind the rows of another, its prefix: its rows see those too, and its positions
/// count on from theirs.
struct PackedSequences {
  at::Tensor ids_T;                           // int64
  std::vector<std::int64_t> sequence_starts;  // S + 1 offsets into T
  std::vector<std::int64_t> prefixes = {};    // S, each an earlier sequence that has none itself, or -1; empty: there are none

  /// Where a sequence's rows lie, and those of its prefix.
  struct Rows {
    std::int64_t begin, tokens, prefix_begin, prefix_tokens;
  };
  std::int64_t sequences() const { return static_cast<std::int64_t>(sequence_starts.size()) - 1; }
  /// The sequence's prefix, or -1.
  std::int64_t prefix(std::int64_t sequence) const { return prefixes.empty() ? -1 : prefixes[static_cast<std::size_t>(sequence)]; }
  Rows rows(std::int64_t sequence) const;
};

/// What backward computes again instead of finding it in Activations; the bits are the same.
enum class Recompute {
  kNone,         // everything is kept
  kActivations,  // the normed rows and the MLP's inner rows
  kBlock,        // all of a block but its input
};

/// What backward needs of a forward pass. Opaque but for `recompute`, which is set before the forward. Given to a further forward it is overwritten, and its memory used again
/// where it is large enough: that saves the page faults of fresh memory, and ends the life of that forward's result.
struct Activations {
  at::Tensor floats;  // fp32: residual streams, inverse root mean squares, log-sum-exps of attention
  at::Tensor values;  // compute dtype: normed rows, q k v, attended, gate and up
  std::vector<at::Tensor> attended, lse;  // of each layer, on a GPU alone: as flash attention gives them
  std::int64_t rows = 0;
  Recompute recompute = Recompute::kNone;
};

class CudaPasses;

/// One thread at a time.
class Transformer {
 public:
  /// Uses `parameters` (shared handle; sharded ones, and parts of a model, make each pass collective): changing them in place by ATen's operations changes the model. Who writes to their
  /// memory past ATen calls weights_changed. It computes where the parameters lie. `exact`: a row's bits do not depend on the other
  /// rows, which is always so on the CPU.
  explicit Transformer(Parameters parameters, bool exact = true);

  const Parameters& parameters() const { return parameters_; }

  /// The final normed hidden state of every token: [T, H], compute dtype. `saved` (may be null) keeps what backward needs.
  at::Tensor forward(const PackedSequences& batch, Activations* saved) const;

  /// Adds dL/dparameter to `gradients` given dL/d(forward's result), finishing the units from the last to the first. Tied
  /// embeddings get both contributions (the head's comes from token_logprobs_backward). Of a part of a model, what TensorCut says.
  void backward(const PackedSequences& batch, const Activations& saved, const at::Tensor& grad_hidden_TH,
                GradientUnits& gradients) const;
  /// The same to a flat tensor (fp32, laid out as parameters().layout()).
  void backward(const PackedSequences& batch, const Activations& saved, const at::Tensor& grad_hidden_TH,
                at::Tensor& gradients) const;

  /// Rows of any sequences in the cache, run after run: writes their keys and values and attends to all positions of their
  /// sequence up to their own, which this or an earlier call has written. Result [T, H]; bit-equal to forward's rows.
  at::Tensor forward_cached(const at::Tensor& ids_T, std::span<const CachedRun> runs, KvCache& cache) const;

  /// row_logits of the model's head, packed once for each version of the weights.
  at::Tensor logits(const at::Tensor& hidden_NH) const;

  /// Packs the head and the blocks on a CPU now, which else the first pass after a change of the weights does.
  void prepare() const;

  void weights_changed() { packed_.emplace<std::monostate>(); }

  /// The output matrix [V, H] (the embedding where tied); of a reward model its score's row, [1, H]. Of sharded parameters collective,
  /// and valid until a pass begins.
  at::Tensor head_VH() const;
  /// Given the gradients of the head's unit: the head's, as head_VH.
  at::Tensor head_in(const at::Tensor& unit) const;
  /// The number of the unit that has the head.
  std::int64_t head_unit() const { return offsets_.head == offsets_.embedding ? 0 : parameters_.architecture().layers + 1; }
  /// Its offset in the flat buffers.
  std::int64_t head_offset() const { return offsets_.head; }
  /// The passes on a GPU; null on the CPU.
  const CudaPasses* cuda() const { return cuda_.get(); }
  /// The table of angles for at least so many positions, where the parameters lie.
  const at::Tensor& rope(std::int64_t positions) const;

 private:
  template <typename T>
  const PackedWeights<T>& packed() const;
  /// For the passes: null where the parameters are sharded, whose blocks are packed one at a time.
  template <typename T>
  const PackedWeights<T>* packed_blocks() const { return parameters_.sharded() ? nullptr : &packed<T>(); }

  Parameters parameters_;
  ModelOffsets offsets_;
  std::shared_ptr<const CudaPasses> cuda_;  // where the parameters lie on a GPU
  // A copy of the weights as the kernels read them, made when first needed and again when the weights have changed.
  mutable std::variant<std::monostate, PackedWeights<float>, PackedWeights<Bf16>> packed_;
  mutable std::uint32_t packed_version_ = 0;
  // [positions, 2, head_size / 2]: cosines, then sines, fp32. Made for as many positions as were needed so far, in powers of two:
  // a model's max_positions may be a million.
  mutable at::Tensor rope_;
};

}  // namespace troupe
