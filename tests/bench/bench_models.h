#pragma once

#include "common/model/architecture.h"

namespace troupe::bench {

/// The 5.5 M parameters of the comparison with TRL.
inline Architecture small_model() {
  Architecture small;
  small.vocabulary = 2048;
  small.hidden = 256;
  small.intermediate = 704;
  small.layers = 6;
  small.heads = 4;
  small.kv_heads = 2;
  small.head_size = 64;
  small.max_positions = 512;
  return small;
}

/// That of configs/quickstart.cfg.
inline Architecture quickstart_model() {
  Architecture quickstart = small_model();
  quickstart.vocabulary = 104;
  quickstart.hidden = 128;
  quickstart.intermediate = 384;
  quickstart.layers = 4;
  quickstart.head_size = 32;
  return quickstart;
}

/// The shape of SmolLM2-135M.
inline Architecture smollm2_135m() {
  Architecture smollm = small_model();
  smollm.vocabulary = 49152;
  smollm.hidden = 576;
  smollm.intermediate = 1536;
  smollm.layers = 30;
  smollm.heads = 9;
  smollm.kv_heads = 3;
  smollm.max_positions = 8192;
  smollm.rope_theta = 1e5;
  return smollm;
}

/// The shape of Qwen2.5-0.5B.
inline Architecture qwen25_05b() {
  Architecture qwen;
  qwen.model_type = "qwen2";
  qwen.vocabulary = 151936;
  qwen.hidden = 896;
  qwen.intermediate = 4864;
  qwen.layers = 24;
  qwen.heads = 14;
  qwen.kv_heads = 2;
  qwen.head_size = 64;
  qwen.max_positions = 32768;
  qwen.rope_theta = 1e6;
  qwen.qkv_bias = true;
  return qwen;
}

/// The shape of Qwen2.5-1.5B.
inline Architecture qwen25_15b() {
  Architecture qwen = qwen25_05b();
  qwen.hidden = 1536;
  qwen.intermediate = 8960;
  qwen.layers = 28;
  qwen.heads = 12;
  qwen.head_size = 128;
  return qwen;
}

/// The shape of Qwen3-0.6B.
inline Architecture qwen3_06b() {
  Architecture qwen = qwen25_05b();
  qwen.model_type = "qwen3";
  qwen.hidden = 1024;
  qwen.intermediate = 3072;
  qwen.layers = 28;
  qwen.heads = 16;
  qwen.kv_heads = 8;
  qwen.head_size = 128;
  qwen.max_positions = 40960;
  qwen.qkv_bias = false;
  qwen.qk_norm = true;
  return qwen;
}

}  // namespace troupe::bench
