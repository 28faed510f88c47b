#pragma once

#include <cstdint>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "common/data/rows.h"

namespace troupe {

/// Adding two numbers of `digits` digits each. Question "437+285=", gold "722", completion
/// "<think> 7+5+0=12 3+8+1=12 4+2+1=07 </think> <answer> 722 </answer>": the columns from the units on, with their
/// carries, each of the same width, so that a digit's place in the thought does not depend on the carries.
///
/// The cold start's teacher is careless: in most rows it forgets the carries (`forgets_carries`). A model that imitates it
/// is right where nothing is carried, and knows both ways; which one pays is for the reward to say.
///
/// Splits: `train` (4,096 rows) and `cold_start` (8,192 rows, with prompt and completion too) are drawn by `seed`;
/// `held_out` (512 different rows) is the same for every seed. About one pair of operands in eight is held out, decided
/// by a hash of the unordered pair; such a pair is in `held_out` only.
class AdditionTask {
 public:
  enum class Split { kTrain, kHeldOut, kColdStart };

  AdditionTask(int digits, Split split, std::uint64_t seed);
  /// The task of "addition3/train" and its like; null where the name is another's. @throws ConfigError naming the
  /// split.
  static std::unique_ptr<AdditionTask> open(const std::string& name, std::uint64_t seed);

  std::uint64_t size() const { return operands_.size(); }
  nlohmann::json row(std::uint64_t index) const;
  std::pair<std::int64_t, std::int64_t> operands(std::uint64_t index) const { return operands_.at(index); }

 private:
  int digits_;
  Split split_;
  std::uint64_t seed_;
  std::vector<std::pair<std::int64_t, std::int64_t>> operands_;
};

/// Whether this pair, in either order, is held out.
bool is_held_out(std::int64_t a, std::int64_t b);

/// Whether the teacher of the cold start forgets the carries in this row: in three rows of four.
bool forgets_carries(std::uint64_t seed, std::uint64_t index);

/// The worked solution of a + b, both of `digits` digits; without carries it is that of a careless pupil: 437+285 gives
/// "7+5+0=12 3+8+0=11 4+2+0=06" and 612.
std::string addition_completion(std::int64_t a, std::int64_t b, int digits, bool with_carries = true);

}  // namespace troupe
