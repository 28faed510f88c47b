#pragma once

#include <ATen/Functions.h>

#include <cstdint>

#include "common/model/parameters.h"

namespace troupe {

/// The model of parity/make_adamw_golden.py: 11 tokens, one layer of 16, biases on q, k and v (of 8 elements for k and
/// v, so that the flat vector has gaps).
inline Architecture tiny_architecture() {
  Architecture a;
  a.model_type = "qwen2";
  a.vocabulary = 11;
  a.hidden = 16;
  a.intermediate = 24;
  a.layers = 1;
  a.heads = 2;
  a.kv_heads = 1;
  a.head_size = 8;
  a.max_positions = 32;
  a.qkv_bias = true;
  return a;
}

/// The golden script's numbers: element i of the tensor with place t in the layout is value(i + 1000 t); 0 in the gaps.
template <class Value>
at::Tensor flat_of(const ParameterLayout& layout, Value value) {
  at::Tensor flat = at::zeros({layout.total}, at::kFloat);
  float* const out = flat.mutable_data_ptr<float>();
  for (std::size_t t = 0; t < layout.tensors.size(); ++t) {
    for (std::int64_t i = 0; i < layout.tensors[t].numel; ++i) {
      out[layout.tensors[t].offset + i] = static_cast<float>(value(i + 1000 * static_cast<std::int64_t>(t)));
    }
  }
  return flat;
}

inline at::Tensor tiny_start(const ParameterLayout& layout) {
  return flat_of(layout, [](std::int64_t i) { return static_cast<double>((i * 29) % 83 - 41) / 128.0; });
}

inline at::Tensor tiny_gradient(const ParameterLayout& layout, std::int64_t step) {
  const double scale = step == 3 ? 4096.0 : 64.0;
  return flat_of(layout, [&](std::int64_t i) { return static_cast<double>((i * 37 + step * 101) % 97 - 48) / scale; });
}

}  // namespace troupe
