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
  std::vector<std::pair<std::int64_t, std::int64_t>> operands_;
};

/// Whether this pair, in either order, is held out.
bool is_held_out(std::int64_t a, std::int64_t b);

/// The worked solution of a + b, both of `digits` digits.
std::string addition_completion(std::int64_t a, std::int64_t b, int digits);

}  // namespace troupe
