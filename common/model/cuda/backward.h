#pragma once

#include "common/model/passes.h"

namespace troupe::cuda {

/// Transformer::backward on a GPU: `saved` is of a forward pass there, `gradients` lie there. Everything is put on the current
/// stream; two runs give the same bits.
void run_backward(const ModelView<Bf16>& model, const PackedSequences& batch, const Activations& saved,
                  const at::Tensor& grad_hidden_TH, at::Tensor& gradients);

}  // namespace troupe::cuda
