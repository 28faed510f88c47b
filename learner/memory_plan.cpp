#include "learner/memory_plan.h"

#include <array>
#include <cstdio>

#include "common/model/compute_device.h"

namespace troupe {
namespace {

struct Choice {
  const char* name;
  Recompute recompute;
};
constexpr std::array<Choice, 3> kChoices = {{{"none", Recompute::kNone}, {"activations", Recompute::kActivations}, {"block", Recompute::kBlock}}};

constexpr double kShare = 0.5;  // of the memory available; the rest is for what passes need in between

}  // namespace

std::int64_t activation_bytes(const Architecture& a, at::ScalarType dtype, at::DeviceType device, std::int64_t rows, Recompute recompute) {
  const auto size = static_cast<std::int64_t>(c10::elementSize(dtype));
  const std::int64_t queries = a.heads * a.head_size, turned = queries + a.kv_heads * a.head_size;
  const std::int64_t attention = 2 * queries + 2 * a.kv_heads * a.head_size + (a.qk_norm ? turned : 0);
  const std::int64_t inner = device == at::kCUDA ? 3 : 2;  // GPUs keep what SwiGLU gives beside what it takes
  const bool all = recompute == Recompute::kNone, block = recompute == Recompute::kBlock;
  const std::int64_t streams = block ? a.layers + 2 : 2 * a.layers + 1;
  const std::int64_t floats = streams * a.hidden + 2 * a.layers + 1 + a.layers * a.heads;
  const std::int64_t values = (all ? 2 * a.layers + 1 : 2) * a.hidden + (block ? 1 : a.layers) * attention + (all ? a.layers : 1) * inner * a.intermediate;
  return rows * (floats * static_cast<std::int64_t>(sizeof(float)) + values * size);
}

MemoryPlan plan_memory(const Config& config, const Parameters& model, const Communicator& communicator) {
  const at::Device device = model.flat().device();
  MemoryPlan plan;
  plan.rows = config.batch.micro_tokens;
  plan.available_bytes = available_bytes(device) / (device.is_cpu() ? communicator.size() : 1);
  for (const Choice& choice : kChoices) {
    if (config.learners.recompute != "auto" && config.learners.recompute != choice.name) continue;
    plan.recompute = choice.recompute;
    plan.kept_bytes = activation_bytes(model.architecture(), model.flat().scalar_type(), device.type(), plan.rows, choice.recompute);
    if (static_cast<double>(plan.kept_bytes) <= kShare * static_cast<double>(plan.available_bytes)) break;
  }
  return plan;
}

std::string MemoryPlan::text() const {
  char text[192];
  std::snprintf(text, sizeof text, "recompute=%s: %lld tokens keep an estimated %.1f MiB of activations, %.0f MiB are available to the rank",
                kChoices[static_cast<std::size_t>(recompute)].name, static_cast<long long>(rows), static_cast<double>(kept_bytes) / (1 << 20),
                static_cast<double>(available_bytes) / (1 << 20));
  return text;
}

}  // namespace troupe
