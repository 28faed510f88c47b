#include "learner/objective/margin_loss.h"

#include <cmath>

namespace troupe {

MarginLoss margin_loss(double margin) {
  const double small = std::exp(-std::abs(margin));  // never overflows
  const double share = margin >= 0 ? small / (1.0 + small) : 1.0 / (1.0 + small);
  return {std::log1p(small) + (margin >= 0 ? 0.0 : -margin), -share};
}

}  // namespace troupe
