#include "learner/shard_map.h"

#include <ATen/Functions.h>

#include <algorithm>
#include <utility>

#include "common/base/error.h"

namespace troupe {

ShardMap::ShardMap(std::vector<std::int64_t> bounds, int ranks) : bounds_(std::move(bounds)), ranks_(ranks) {
  check(bounds_.size() >= 2 && bounds_.front() == 0 && std::is_sorted(bounds_.begin(), bounds_.end()) && ranks >= 1,
        "units of a vector begin at 0 and ascend");
  for (std::size_t u = 0; u + 1 < bounds_.size(); ++u) {
    Unit unit{bounds_[u], bounds_[u + 1]};
    unit.origin = unit.begin / kBlock * kBlock;
    const std::int64_t shared = kBlock * ranks;
    unit.part = (unit.end - unit.origin + shared - 1) / shared * kBlock;
    unit.place = slice_;
    slice_ += unit.part;
    units_.push_back(unit);
    const std::int64_t last = unit.end / kBlock;
    const bool inside = unit.end % kBlock != 0 && unit.end < total();
    if (inside && (meeting_blocks_.empty() || meeting_blocks_.back() != last)) meeting_blocks_.push_back(last);
  }
}

std::vector<ShardMap::Piece> ShardMap::pieces(int rank) const {
  std::vector<Piece> pieces;
  for (const Unit& unit : units_) {
    const std::int64_t first = unit.origin + rank * unit.part;
    const std::int64_t begin = std::max(first, unit.begin), end = std::min(first + unit.part, unit.end);
    if (begin < end) pieces.push_back({begin, end, unit.place + begin - first});
  }
  return pieces;
}

std::int64_t ShardMap::element(int rank, std::int64_t place) const {
  std::int64_t element = -1;
  for (const Piece& piece : pieces(rank)) {
    if (piece.place <= place) element = std::min(piece.begin + place - piece.place, piece.end - 1);
  }
  return element;
}

at::Tensor ShardMap::slice_of(const at::Tensor& whole, int rank) const {
  check(whole.dim() == 1 && whole.numel() == total(), "a slice is cut of the whole vector");
  at::Tensor slice = at::zeros({slice_}, whole.options());
  for (const Piece& piece : pieces(rank)) {
    const std::int64_t count = piece.end - piece.begin;
    slice.narrow(0, piece.place, count).copy_(whole.narrow(0, piece.begin, count));
  }
  return slice;
}

}  // namespace troupe
