#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

#include "common/model/parameters.h"

namespace troupe {

/// The ranks that hold one model together. Every one of them calls the same operations in the same order with the same sizes. One
/// thread at a time.
class TensorGroup {
 public:
  virtual ~TensorGroup() = default;
  virtual int rank() const = 0;
  virtual int size() const = 0;
  /// values := their sum over the ranks in rank order, the same bits on each: contiguous fp32, where the model lies. Collective.
  virtual void sum_(const at::Tensor& values) = 0;
  /// The ranks' `own`, of equal shape and contiguous, one behind the other in a new first dimension. Collective.
  virtual at::Tensor gather(const at::Tensor& own) = 0;
  /// Whether sum_ may be captured in a CUDA graph.
  virtual bool sums_in_graphs() const { return false; }
};

/// The numbers of a rank's part of a model that `ranks` hold together. @throws ConfigError naming `key`, which asks for so many, and the
/// number that it does not divide.
Architecture part_of(const Architecture& whole, int ranks, const std::string& key = "learners.tensor_parallel");

/// Neighbouring elements of a rank's part that are neighbours in the whole model too.
struct PartRun {
  std::int64_t begin;  // in the part's flat vector
  std::int64_t whole;  // in the whole model's
  std::int64_t count;
};

/// All that `rank` has of a model, ascending in both vectors: of a matrix whose columns are cut a run a row. `part`: the layout of part_of.
std::vector<PartRun> part_runs(const ParameterLayout& whole, const ParameterLayout& part, int rank);

/// A model that a group of ranks holds together, as Megatron-LM cuts it (Shoeybi et al. 2019, section 3): of q, k, v and of gate, up each
/// rank has as many rows (whole heads) and of the output and down projections the columns that take them, so that a rank's part is a model
/// of part_of's numbers whose two projections give terms of a sum over the ranks. Embedding, norms and head are whole on every rank; what a
/// backward pass adds to their gradients on a rank is a term of a sum over the ranks too.
class TensorCut {
 public:
  /// @throws ConfigError as part_of.
  TensorCut(const Architecture& whole, std::shared_ptr<TensorGroup> group);

  const Architecture& whole() const { return whole_; }
  const ParameterLayout& whole_layout() const { return whole_layout_; }
  const Architecture& part() const { return part_; }
  TensorGroup& group() const { return *group_; }

  /// part := what `rank` has of a unit of the whole model; they may differ in type and place.
  void take_(std::int64_t unit, const at::Tensor& whole, int rank, const at::Tensor& part) const;
  /// The other way: sets in `whole` what `rank` has of it, and nothing else.
  void put_(std::int64_t unit, const at::Tensor& part, int rank, const at::Tensor& whole) const;

 private:
  template <typename Copy>
  void each_tensor(std::int64_t unit, const at::Tensor& whole, int rank, const at::Tensor& part, const Copy& copy) const;

  Architecture whole_, part_;
  ParameterLayout whole_layout_, part_layout_;
  std::shared_ptr<TensorGroup> group_;  // shared by the cuts of a rank's models
};

}  // namespace troupe
