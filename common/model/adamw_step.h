#pragma once

namespace troupe {

/// The constants of one AdamW update (Loshchilov & Hutter 2019), as torch.optim.AdamW has them at its t-th step.
struct AdamWStep {
  float decay;       // 1 - lr * weight_decay
  float clip;        // factor of the gradient
  float beta1_rest;  // 1 - beta1
  float beta2;
  float beta2_rest;  // 1 - beta2
  float step_size;   // lr / (1 - beta1^t)
  float root2;       // sqrt(1 - beta2^t)
  float eps;
};

}  // namespace troupe
