#pragma once

#include <cstdint>
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
  /// @throws ConfigError naming the tensor.
  const ParameterSpec& find(const std::string& name) const;
};

/// Parameters as one flat tensor and named views into it. A shared handle like a tensor.
class Parameters {
 public:
  /// Zeros of `dtype` (at::kFloat or at::kBFloat16) in the memory of `device`.
  Parameters(const Architecture& architecture, at::ScalarType dtype, at::Device device = at::kCPU);
  /// Zeros of another layout that belongs to a model of `architecture`.
  Parameters(const Architecture& architecture, ParameterLayout layout, at::ScalarType dtype, at::Device device = at::kCPU);

  /// A copy of them in the memory of `device`.
  Parameters on(at::Device device) const;

  const Architecture& architecture() const { return architecture_; }
  const ParameterLayout& layout() const { return layout_; }
  /// [total], contiguous.
  const at::Tensor& flat() const { return flat_; }
  /// The view of tensor `name`, of its shape.
  at::Tensor operator[](const std::string& name) const;
  /// `rows` of neighbouring matrices from `first` on as one [rows, columns] view (q, k, v; gate, up).
  at::Tensor joined(const std::string& first, std::int64_t rows) const;

 private:
  Architecture architecture_;
  ParameterLayout layout_;
  at::Tensor flat_;
};

/// Random start: matrices N(0, 0.02²), with the two residual outputs of a block (o_proj, down_proj) divided by
/// sqrt(2 * layers) (GPT-2, section 2.3), norms 1, biases 0. A function of `seed` and each element's index alone.
void initialise_(Parameters& parameters, std::uint64_t seed);

}  // namespace troupe
