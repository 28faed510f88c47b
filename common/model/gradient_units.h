#pragma once

#include <cstdint>
#include <utility>

#include <ATen/core/Tensor.h>

#include "common/model/parameters.h"

namespace troupe {

/// Where a backward pass adds gradients, a unit of the layout at a time. One thread at a time.
class GradientUnits {
 public:
  virtual ~GradientUnits() = default;
  /// The unit's gradients, fp32, to be added to: as long as the unit, where the parameters lie. Valid until it is finished.
  virtual at::Tensor unit(std::int64_t number) = 0;
  /// Nothing more is added to the unit in this pass. Each pass says so once of every unit, an empty one too.
  virtual void finished(std::int64_t number) = 0;
};

/// All in one flat tensor.
class WholeGradients final : public GradientUnits {
 public:
  /// Refers to both. `flat`: [total] fp32.
  WholeGradients(const ParameterLayout& layout, const at::Tensor& flat) : layout_(layout), flat_(flat) {}

  at::Tensor unit(std::int64_t number) override {
    const std::int64_t begin = layout_.units[static_cast<std::size_t>(number)];
    return flat_.narrow(0, begin, layout_.units[static_cast<std::size_t>(number) + 1] - begin);
  }
  void finished(std::int64_t) override {}

 private:
  const ParameterLayout& layout_;
  const at::Tensor& flat_;
};

}  // namespace troupe
