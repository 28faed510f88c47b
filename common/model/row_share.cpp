#include "common/model/row_share.h"

#include <ATen/Functions.h>

#include <algorithm>

#include "common/model/tensor_cut.h"

namespace troupe {

RowShare::RowShare(const Parameters& parameters, std::int64_t rows) : parameters_(parameters), rows_(rows) {
  const TensorCut* const cut = parameters.cut();
  const std::int64_t ranks = cut != nullptr ? cut->group().size() : 1, rank = cut != nullptr ? cut->group().rank() : 0;
  share_ = (rows + ranks - 1) / ranks;
  begin_ = std::min(rows, rank * share_);
  count_ = std::min(rows - begin_, share_);
}

at::Tensor RowShare::all(const at::Tensor& own) const {
  if (parameters_.cut() == nullptr) return own;
  auto shape = own.sizes().vec();
  shape[0] = share_;
  at::Tensor padded = at::zeros(shape, own.options());
  padded.narrow(0, 0, count_).copy_(own);
  return parameters_.cut()->group().gather(padded).flatten(0, 1).narrow(0, 0, rows_);
}

}  // namespace troupe
