#include "learner/publisher.h"

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "common/base/checksum.h"
#include "common/base/error.h"
#include "common/base/fault.h"
#include "common/base/shared_memory.h"

namespace troupe {
namespace {

constexpr std::size_t kMaxRunId = 200;  // a name for shm_open has at most 255 bytes

/// The bytes of a version and their owner: shared memory, or the heap where that has no room.
struct WeightBytes {
  std::span<std::byte> bytes;
  std::shared_ptr<const void> owner;  // shared by the hub's stream and the publisher
};

WeightBytes in_shared_memory(const std::string& name, std::size_t size) {
  auto memory = std::make_shared<SharedMemory>(SharedMemory::create(name, size));
  return {memory->writable_bytes(), memory};
}

WeightBytes on_heap(std::size_t size) {
  auto memory = std::make_shared<std::vector<std::byte>>(size);
  return {*memory, memory};
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

PublishedWeights Publisher::publish(const Parameters& parameters, std::uint64_t version) {
  fault::point("publish.before");
  const at::Tensor flat = parameters.flat().cpu();
  const auto element_bytes = static_cast<std::uint64_t>(flat.element_size());
  const std::size_t size = flat.nbytes();

  PublishedWeights published;
  WeightManifest& manifest = published.manifest;
  manifest.version = version;
  manifest.dtype = flat.scalar_type() == at::kBFloat16 ? "bf16" : "fp32";
  manifest.total_bytes = size;
  manifest.bucket_bytes = kWeightBucketBytes;
  for (const ParameterSpec& tensor : parameters.layout().tensors) {
    manifest.tensors.push_back({tensor.name, tensor.shape, static_cast<std::uint64_t>(tensor.offset) * element_bytes,
                                static_cast<std::uint64_t>(tensor.numel) * element_bytes});
  }

  WeightBytes memory;
  try {
    const std::string name = name_prefix() + std::to_string(version);
    memory = in_shared_memory(name, size);
    manifest.shared_memory = name;
  } catch (const TransportError& error) {
    if (!std::exchange(warned_, true)) logger_.warning(std::string("weights go by stream only: ") + error.what());
    memory = on_heap(size);
  }
  std::memcpy(memory.bytes.data(), flat.const_data_ptr(), size);
  fault::point("publish.inside");
  for (std::size_t start = 0; start < size; start += kWeightBucketBytes) {
    const std::size_t length = std::min<std::size_t>(kWeightBucketBytes, size - start);
    manifest.bucket_checksums.push_back(xxh3_64(std::span<const std::byte>(memory.bytes).subspan(start, length)));
  }
  published.bytes = {reinterpret_cast<const char*>(memory.bytes.data()), size};
  published.owner = std::move(memory.owner);
  return published;
}

}  // namespace troupe
