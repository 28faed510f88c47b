#include "common/model/cuda/activations.h"

#include <utility>

#include <ATen/Functions.h>

#include "common/base/error.h"
#include "common/model/cuda/device.h"

namespace troupe {

CudaActivations::CudaActivations(const Architecture& a, std::int64_t rows, bool keep, Activations& storage)
    : rows_(rows),
      layers_(a.layers),
      hidden_(a.hidden),
      qkv_width_((a.heads + 2 * a.kv_heads) * a.head_size),
      unnormed_width_(keep && a.qk_norm ? (a.heads + a.kv_heads) * a.head_size : 0),
      gate_up_width_(2 * a.intermediate),
      intermediate_(a.intermediate),
      keep_(keep),
      recompute_(storage.recompute) {
  lay_out();
  const auto grow = [](at::Tensor& tensor, std::int64_t count, at::ScalarType dtype) {
    const bool fits = tensor.defined() && tensor.is_cuda() && tensor.scalar_type() == dtype && tensor.numel() >= count;
    if (fits) return;
    tensor = at::Tensor();  // first the old memory goes back
    tensor = at::empty({count}, on_gpu(dtype));
  };
  grow(storage.floats, float_count_, at::kFloat);
  grow(storage.values, value_count_, at::kBFloat16);
  storage.rows = rows;
  floats_ = storage.floats;
  values_ = storage.values;
}

CudaActivations::CudaActivations(const Architecture& a, const Activations& storage)
    : rows_(storage.rows),
      layers_(a.layers),
      hidden_(a.hidden),
      qkv_width_((a.heads + 2 * a.kv_heads) * a.head_size),
      unnormed_width_(a.qk_norm ? (a.heads + a.kv_heads) * a.head_size : 0),
      gate_up_width_(2 * a.intermediate),
      intermediate_(a.intermediate),
      keep_(true),
      recompute_(storage.recompute),
      floats_(storage.floats),
      values_(storage.values) {
  lay_out();
  check(floats_.defined() && floats_.is_cuda() && floats_.numel() >= float_count_ && values_.numel() >= value_count_,
        "activations come from this model's forward pass");
}

void CudaActivations::lay_out() {
  const std::int64_t all = 2 * layers_ + 1, attentions = keeps_attention() ? layers_ : 1;
  const auto take = [](std::int64_t& used, std::int64_t count) { return std::exchange(used, used + (count + 15) / 16 * 16); };
  residual_ = take(float_count_, (keeps_attention() ? all : keep_ ? layers_ + 2 : 1) * rows_ * hidden_);
  inverse_rms_ = take(float_count_, keep_ ? all * rows_ : 0);
  normed_ = take(value_count_, (keeps_all() ? all : keep_ ? 2 : 1) * rows_ * hidden_);
  qkv_ = take(value_count_, attentions * rows_ * qkv_width_);
  unnormed_ = take(value_count_, attentions * rows_ * unnormed_width_);
  gate_up_ = take(value_count_, (keeps_all() ? layers_ : 1) * rows_ * gate_up_width_);
  activated_ = take(value_count_, (keeps_all() ? layers_ : 1) * std::max(rows_, kLeastActivatedRows) * intermediate_);
}

float* CudaActivations::inverse_rms(std::int64_t stream) const {
  return keep_ ? floats_.mutable_data_ptr<float>() + inverse_rms_ + stream * rows_ : nullptr;
}

at::Tensor CudaActivations::unnormed(std::int64_t layer) const {
  return unnormed_width_ == 0 ? at::Tensor() : values(unnormed_ + attention_place(layer) * rows_ * unnormed_width_, unnormed_width_);
}

}  // namespace troupe
