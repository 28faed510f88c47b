#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <ATen/core/Tensor.h>

#include "common/model/architecture.h"

namespace troupe {

/// Where one tensor lies in the flat parameter buffer. Names are Hugging Face's.
struct ParameterSpec {
  std::string name;
  std::vector<std::int64_t> shape;
  std::int64_t offset = 0;  // elements
  std::int64_t numel = 0;
  bool operator==(const ParameterSpec&) const = default;
};

/// All tensors of an architecture, in the order in which the model uses them (embedding, blocks, final norm, head), aligned
/// to 16 elements. A tied head has no entry of its own; a reward model's is
/// its score. q, k and v of a block follow one another without a gap, as do gate and
/// up, so that each triple or pair is one matrix.
struct ParameterLayout {
  explicit ParameterLayout(const Architecture& architecture);
  /// Other tensors, by name and shape, each aligned.
  explicit ParameterLayout(const std::vector<std::pair<std::string, std::vector<std::int64_t>>>& named_shapes);
  std::vector<ParameterSpec> tensors;
  std::int64_t total = 0;  // elements, alignment gaps included
  /// Where each unit begins that the passes use as one: the embedding, each block, the final norm with the head; and the total. Of
  /// other tensors: one unit.
  std::vector<std::int64_t> units;
  /// @throws ConfigError naming the tensor.
  const ParameterSpec& find(const std::string& name) const;
  /// Where `rows` rows of neighbouring tensors begin, the first of which is `first` (q, k, v; gate, up).
  std::int64_t joined(const std::string& first, std::int64_t rows) const;
};

/// Parameters of which a rank has only a slice, a unit at a time. One thread at a time.
class ParameterUnits {
 public:
  virtual ~ParameterUnits() = default;
  /// All elements of unit `number`, without padding; valid until the next call but two. `next`, where it is not negative, is the
  /// unit that the next call will ask for: it may be fetched meanwhile. Collective.
  virtual at::Tensor take(std::int64_t number, std::int64_t next) = 0;
  /// Whoever waits for a GPU that computes with units calls this first: it has a deadline. @throws DeviceError.
  virtual void settle() {}
};

class TensorCut;

/// Parameters as one flat tensor and named views into it, or as a rank's slice of that; of a whole model, or of a rank's part of one that a
/// tensor group holds together, which is a model itself. A shared handle like a tensor.
class Parameters {
 public:
  /// Zeros of `dtype` (at::kFloat or at::kBFloat16) in the memory of `device`.
  Parameters(const Architecture& architecture, at::ScalarType dtype, at::Device device = at::kCPU);
  /// Zeros of another layout that belongs to a model of `architecture`.
  Parameters(const Architecture& architecture, ParameterLayout layout, at::ScalarType dtype, at::Device device = at::kCPU);

  /// This rank's `slice` of a model's parameters, of which `units` gives the whole; where there is a `cut`, of its rank's part of the model.
  Parameters(const Architecture& architecture, at::Tensor slice, std::shared_ptr<ParameterUnits> units,
             std::shared_ptr<const TensorCut> cut = nullptr);

  /// Zeros of a rank's part of a model.
  Parameters(std::shared_ptr<const TensorCut> cut, at::ScalarType dtype, at::Device device = at::kCPU);

  /// A copy of them in the memory of `device`, of type `dtype` where it is given.
  Parameters on(at::Device device, std::optional<at::ScalarType> dtype = std::nullopt) const;

  const Architecture& architecture() const { return architecture_; }
  const ParameterLayout& layout() const { return layout_; }
  /// [total], contiguous; where they are sharded, this rank's slice.
  const at::Tensor& flat() const { return flat_; }
  bool sharded() const { return units_ != nullptr; }
  /// What this is a part of; null where it is the whole model.
  const TensorCut* cut() const { return cut_.get(); }
  const Architecture& whole_architecture() const;
  const ParameterLayout& whole_layout() const;
  /// Sets a unit, of this rank's part, from `whole`, the elements of the unit in the whole model, of any type and place. Not of sharded
  /// ones.
  void set_unit_(std::int64_t number, const at::Tensor& whole) const;
  /// The elements of a unit of the layout. Of sharded parameters as ParameterUnits::take says.
  at::Tensor unit(std::int64_t number, std::int64_t next = -1) const;
  /// Of sharded parameters ParameterUnits::settle.
  void settle() const;
  /// The view of tensor `name`, of its shape.
  at::Tensor operator[](const std::string& name) const;

 private:
  Architecture architecture_;
  ParameterLayout layout_;
  at::Tensor flat_;
  std::shared_ptr<ParameterUnits> units_;  // shared by the handles; null where the parameters are whole
  std::shared_ptr<const TensorCut> cut_;   // shared by the models of a rank
};

/// Random start: matrices N(0, 0.02²), with the two residual outputs of a block (o_proj, down_proj) divided by
/// sqrt(2 * layers) (GPT-2, section 2.3), norms 1, biases 0. A function of `seed` and each element's index alone.
void initialise_(Parameters& parameters, std::uint64_t seed);

}  // namespace troupe
