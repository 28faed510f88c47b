#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

namespace troupe {

/// How a flat vector lies on the ranks. It is cut into units that are shared out each by itself, so that one can be gathered or summed
/// alone. A rank's part of a unit is whole blocks of 1024 elements, counted from the vector's start; the unit is padded on both sides so
/// that the parts are equally long. A rank's slice is its parts, one after the other.
class ShardMap {
 public:
  static constexpr std::int64_t kBlock = 1024;

  struct Unit {
    std::int64_t begin = 0, end = 0;  // in the vector
    std::int64_t origin = 0;          // where the padded unit begins: begin, rounded down to a block
    std::int64_t part = 0;            // elements of each rank's part
    std::int64_t place = 0;           // of the part in a rank's slice
    std::int64_t padded(int ranks) const { return part * ranks; }
  };
  /// A run of a slice that is no padding.
  struct Piece {
    std::int64_t begin, end;  // in the vector
    std::int64_t place;       // in the slice
  };

  /// `bounds`: where each unit begins, ascending from 0, and the vector's length.
  ShardMap(std::vector<std::int64_t> bounds, int ranks);

  const std::vector<std::int64_t>& bounds() const { return bounds_; }
  const std::vector<Unit>& units() const { return units_; }
  int ranks() const { return ranks_; }
  std::int64_t total() const { return bounds_.back(); }
  /// Elements of each rank's slice.
  std::int64_t slice() const { return slice_; }
  /// A rank's pieces, ascending in vector and slice.
  std::vector<Piece> pieces(int rank) const;
  /// The element of the vector at `place` of a rank's slice; in the padding, of the nearest piece before, or -1.
  std::int64_t element(int rank, std::int64_t place) const;
  /// The numbers of blocks in which two units or more meet, ascending: no rank need have all of such a block.
  const std::vector<std::int64_t>& meeting_blocks() const { return meeting_blocks_; }

  /// A rank's slice of `whole` [total] of any type, zero in the padding; on the CPU where that is.
  at::Tensor slice_of(const at::Tensor& whole, int rank) const;

 private:
  std::vector<std::int64_t> bounds_;
  int ranks_;
  std::int64_t slice_ = 0;
  std::vector<Unit> units_;
  std::vector<std::int64_t> meeting_blocks_;
};

}  // namespace troupe
