#include "learner/shard_map.h"

#include <ATen/Functions.h>

#include <algorithm>
#include <utility>

#include "common/base/error.h"
#include "common/model/tensor_cut.h"

namespace troupe {

ShardMap::ShardMap(std::vector<std::int64_t> bounds, int ranks) : bounds_(std::move(bounds)), ranks_(ranks) {
  check(bounds_.size() >= 2 && bounds_.front() == 0 && std::is_sorted(bounds_.begin(), bounds_.end()) && ranks >= 1,
        "units of a vector begin at 0 and ascend");
  total_ = bounds_.back();
  share_out(ranks);
  for (const Unit& unit : units_) {
    const std::int64_t last = unit.end / kBlock;
    const bool inside = unit.end % kBlock != 0 && unit.end < total_;
    if (inside && (meeting_blocks_.empty() || meeting_blocks_.back() != last)) meeting_blocks_.push_back(last);
  }
}

ShardMap::ShardMap(const Architecture& whole, int ranks, int together)
    : ranks_(ranks), together_(together), layouts_{ParameterLayout(whole), ParameterLayout(part_of(whole, together))} {
  check(together >= 1 && ranks % together == 0, "groups of ranks that hold a model together are equally large");
  bounds_ = layouts_.back().units;
  total_ = layouts_.front().total;
  share_out(ranks / together);
}

void ShardMap::share_out(int sharers) {
  for (std::size_t u = 0; u + 1 < bounds_.size(); ++u) {
    Unit unit{bounds_[u], bounds_[u + 1], u == 0 || u + 2 == bounds_.size() ? ranks_ : sharers};
    unit.origin = unit.begin / kBlock * kBlock;
    const std::int64_t shared = kBlock * unit.ranks;
    unit.part = (unit.end - unit.origin + shared - 1) / shared * kBlock;
    unit.place = slice_;
    slice_ += unit.part;
    units_.push_back(unit);
  }
}

std::vector<ShardMap::Piece> ShardMap::own_pieces(int rank) const {
  std::vector<Piece> pieces;
  for (const Unit& unit : units_) {
    const std::int64_t first = unit.origin + number_of(unit, rank) * unit.part;
    const std::int64_t begin = std::max(first, unit.begin), end = std::min(first + unit.part, unit.end);
    if (begin < end) pieces.push_back({begin, end, unit.place + begin - first});
  }
  return pieces;
}

std::vector<ShardMap::Piece> ShardMap::pieces(int rank) const {
  const std::vector<Piece> own = own_pieces(rank);
  if (layouts_.empty()) return own;
  std::vector<Piece> pieces;
  const std::vector<PartRun> runs = part_runs(layouts_.front(), layouts_.back(), rank % together_);
  for (const Piece& piece : own) {
    const auto ends_before = [&](const PartRun& run) { return run.begin + run.count <= piece.begin; };
    for (auto run = std::partition_point(runs.begin(), runs.end(), ends_before); run != runs.end() && run->begin < piece.end; ++run) {
      const std::int64_t first = std::max(piece.begin, run->begin), last = std::min(piece.end, run->begin + run->count);
      pieces.push_back({run->whole + first - run->begin, run->whole + last - run->begin, piece.place + first - piece.begin});
    }
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

ShardMap shard_map_of(const Parameters& parameters, int ranks) {
  const TensorCut* const cut = parameters.cut();
  return cut != nullptr ? ShardMap(cut->whole(), ranks, cut->group().size()) : ShardMap(parameters.layout().units, ranks);
}

}  // namespace troupe
