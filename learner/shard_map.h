#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "common/model/parameters.h"

namespace troupe {

/// How a flat vector lies on the ranks. It is cut into units that are shared out each by itself, so that one can be gathered or summed
/// alone. A rank's part of a unit is whole blocks of 1024 elements, counted from the vector's start; the unit is padded on both sides so
/// that the parts are equally long. A rank's slice is its parts, one after the other.
///
/// Of a model that groups of consecutive ranks hold together, each rank has a vector of its own, TensorCut's part: the first and the last
/// unit, which all of them have, are shared out over all ranks, and a block's part over those that have the same.
class ShardMap {
 public:
  static constexpr std::int64_t kBlock = 1024;

  struct Unit {
    std::int64_t begin = 0, end = 0;  // in the rank's own vector
    int ranks = 1;                    // that share it out
    std::int64_t origin = 0;          // where the padded unit begins: begin, rounded down to a block
    std::int64_t part = 0;            // elements of each rank's part
    std::int64_t place = 0;           // of the part in a rank's slice
    std::int64_t padded() const { return part * ranks; }
  };
  /// A run of a slice that is no padding.
  struct Piece {
    std::int64_t begin, end;  // in the vector
    std::int64_t place;       // in the slice
  };

  /// `bounds`: where each unit begins, ascending from 0, and the vector's length.
  ShardMap(std::vector<std::int64_t> bounds, int ranks);
  /// Of a model that each `together` of the ranks hold together. @throws ConfigError as part_of.
  ShardMap(const Architecture& whole, int ranks, int together);

  /// Of the units, in the vector that a rank has.
  const std::vector<std::int64_t>& bounds() const { return bounds_; }
  const std::vector<Unit>& units() const { return units_; }
  int ranks() const { return ranks_; }
  /// Ranks that hold a model together.
  int together() const { return together_; }
  /// Elements of the whole vector.
  std::int64_t total() const { return total_; }
  /// Elements of each rank's slice.
  std::int64_t slice() const { return slice_; }
  /// Which part of the unit is the rank's, from 0.
  std::int64_t number_of(const Unit& unit, int rank) const { return std::int64_t{rank} * unit.ranks / ranks_; }
  /// A rank's pieces, ascending in vector and slice: of the whole vector, or of the rank's own.
  std::vector<Piece> pieces(int rank) const;
  std::vector<Piece> own_pieces(int rank) const;
  /// The element of the whole vector at `place` of a rank's slice; in the padding, of the nearest piece before, or -1.
  std::int64_t element(int rank, std::int64_t place) const;
  /// The numbers of blocks in which two units or more meet, ascending: no rank need have all of such a block. None where ranks hold a model
  /// together, whose blocks are their own.
  const std::vector<std::int64_t>& meeting_blocks() const { return meeting_blocks_; }

  /// A rank's slice of `whole` [total] of any type, zero in the padding; on the CPU where that is.
  at::Tensor slice_of(const at::Tensor& whole, int rank) const;

 private:
  /// `sharers`: of the units between the first and the last.
  void share_out(int sharers);

  std::vector<std::int64_t> bounds_;
  int ranks_, together_ = 1;
  std::int64_t total_ = 0, slice_ = 0;
  std::vector<Unit> units_;
  std::vector<std::int64_t> meeting_blocks_;
  std::vector<ParameterLayout> layouts_;  // where ranks hold a model together: the whole one's, and their parts'
};

/// How a model's parameters lie on `ranks` that each have them all, a slice or a part.
ShardMap shard_map_of(const Parameters& parameters, int ranks);

}  // namespace troupe
