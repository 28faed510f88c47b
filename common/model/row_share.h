#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "common/model/parameters.h"

namespace troupe {

/// What a rank does of rows [N, …] that all ranks of its tensor group have: a run of them, as long on every rank but for the last ones. All,
/// where a rank has the model by itself.
class RowShare {
 public:
  /// Refers to the parameters.
  RowShare(const Parameters& parameters, std::int64_t rows);

  /// This rank's rows of `all` [N, …].
  at::Tensor own(const at::Tensor& all) const { return all.narrow(0, begin_, count_); }
  std::int64_t begin() const { return begin_; }
  std::int64_t count() const { return count_; }
  /// The ranks' own(…), put together: [N, …]. Collective.
  at::Tensor all(const at::Tensor& own) const;

 private:
  const Parameters& parameters_;
  std::int64_t rows_, share_, begin_, count_;
};

}  // namespace troupe
