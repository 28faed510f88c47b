#include "learner/publisher.h"

#include <ATen/Functions.h>

#include <memory>
#include <utility>

#include "common/base/error.h"
#include "common/base/fault.h"
#include "common/model/bucket_checksums.h"

namespace troupe {
namespace {

constexpr std::size_t kMaxRunId = 200;  // a name for shm_open has at most 255 bytes

WeightManifest manifest_of(const Parameters& parameters, std::uint64_t version) {
  const at::Tensor& flat = parameters.flat();
  const auto element_bytes = static_cast<std::uint64_t>(flat.element_size());
  WeightManifest manifest;
  manifest.version = version;
  manifest.dtype = flat.scalar_type() == at::kBFloat16 ? "bf16" : "fp32";
  manifest.total_bytes = flat.nbytes();
  manifest.bucket_bytes = kWeightBucketBytes;
  for (const ParameterSpec& tensor : parameters.layout().tensors) {
    manifest.tensors.push_back({tensor.name, tensor.shape, static_cast<std::uint64_t>(tensor.offset) * element_bytes,
                                static_cast<std::uint64_t>(tensor.numel) * element_bytes});
  }
  return manifest;
}

}  // namespace

Publisher::Publisher(std::string run_id, Logger logger) : run_id_(std::move(run_id)), logger_(std::move(logger)) {
  if (run_id_.empty() || run_id_.size() > kMaxRunId || run_id_.find('/') != std::string::npos) {
    throw ConfigError("run id \"" + run_id_ + "\": expected 1 to " + std::to_string(kMaxRunId) +
                      " characters without a slash");
  }
  const int left = unlink_shared_memory(name_prefix());
  if (left > 0) logger_.info("cleared shared memory that a killed run left behind, objects=" + std::to_string(left));
}

Publisher::~Publisher() { unlink_shared_memory(name_prefix()); }

std::string Publisher::name_prefix() const { return "/troupe-" + run_id_ + "-v"; }

void Publisher::clear() {
  std::erase_if(segments_, [](const auto& segment) { return segment.use_count() == 1; });
}

/// One that nobody else holds, or a new one. @throws TransportError where there is no room.
std::shared_ptr<Publisher::Segment> Publisher::free_segment(const at::Tensor& flat) {
  for (const std::shared_ptr<Segment>& segment : segments_) {
    if (segment.use_count() == 1 && segment->memory.bytes().size() == flat.nbytes()) return segment;
  }
  clear();
  const auto segment = std::make_shared<Segment>(SharedMemory::create(name_prefix() + std::to_string(next_number_++), flat.nbytes()));
  if (flat.is_cuda()) segment->pinned.emplace(segment->memory.bytes(), /*read_only=*/false);
  return segments_.emplace_back(segment);
}

PublishedWeights Publisher::publish(const Parameters& parameters, std::uint64_t version) {
  fault::point("publish.before");
  const at::Tensor& flat = parameters.flat();
  PublishedWeights published;
  published.manifest = manifest_of(parameters, version);
  std::byte* bytes = nullptr;
  try {
    const std::shared_ptr<Segment> segment = free_segment(flat);
    bytes = segment->memory.writable_bytes().data();
    published.manifest.shared_memory = segment->memory.name();
    published.owner = segment;
  } catch (const TransportError& error) {
    if (!std::exchange(warned_, true)) logger_.warning(std::string("weights go by stream only: ") + error.what());
    const auto heap = std::make_shared<std::vector<std::byte>>(flat.nbytes());
    bytes = heap->data();
    published.owner = heap;
  }
  at::from_blob(bytes, flat.sizes(), at::TensorOptions(flat.scalar_type())).copy_(flat);
  fault::point("publish.inside");
  published.manifest.bucket_checksums = bucket_checksums(flat, kWeightBucketBytes);
  published.bytes = {reinterpret_cast<const char*>(bytes), flat.nbytes()};
  return published;
}

}  // namespace troupe
