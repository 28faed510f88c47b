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

}  // namespace troupe::bench
