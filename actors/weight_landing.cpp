#include "actors/weight_landing.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include <ATen/Functions.h>
#include <c10/core/StreamGuard.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include "common/base/error.h"
#include "common/base/fault.h"
#include "common/model/bucket_checksums.h"

namespace troupe {
namespace {

std::uint64_t bucket_size(const WeightManifest& manifest, std::uint64_t bucket) {
  return std::min(manifest.bucket_bytes, manifest.total_bytes - bucket * manifest.bucket_bytes);
}

/// "" where they are equal.
std::string size_problem(std::uint64_t expected, std::uint64_t found) {
  if (expected == found) return "";
  return "expected " + std::to_string(expected) + " bytes, found " + std::to_string(found);
}
std::string checksum_problem(std::uint64_t expected, std::uint64_t found) {
  if (expected == found) return "";
  return "expected checksum " + std::to_string(expected) + ", found " + std::to_string(found);
}

std::optional<c10::Stream> side_stream(at::Device device) {
  if (!device.is_cuda()) return std::nullopt;
  return c10::impl::VirtualGuardImpl(at::kCUDA).getStreamFromGlobalPool(device, /*isHighPriority=*/false);
}

}  // namespace

std::string bucket_name(const WeightManifest& manifest, std::uint64_t bucket) {
  return "bucket " + std::to_string(bucket) + " of " + std::to_string(manifest.bucket_checksums.size()) +
         " of weights version " + std::to_string(manifest.version);
}

WeightLanding::WeightLanding(const Architecture& architecture, at::Device device)
    : architecture_(architecture), layout_(architecture), device_(device), stream_(side_stream(device)) {}

Parameters WeightLanding::room(const std::string& dtype) const {
  const c10::OptionalStreamGuard guard(stream_);
  Parameters parameters(architecture_, dtype == "bf16" ? at::kBFloat16 : at::kFloat, device_);
  if (stream_) stream_->synchronize();  // its zeros must not come after what others write
  return parameters;
}

std::string WeightLanding::put(const WeightManifest& manifest, std::uint64_t bucket, std::string_view bytes,
                               const Parameters& parameters) const {
  fault::point("actor.weights.inside");
  const std::string wrong_size = size_problem(bucket_size(manifest, bucket), bytes.size());
  if (!wrong_size.empty()) return wrong_size;
  const c10::OptionalStreamGuard guard(stream_);
  const auto start = static_cast<std::int64_t>(bucket * manifest.bucket_bytes), size = std::ssize(bytes);
  const at::Tensor place = parameters.flat().view(at::kByte).narrow(0, start, size);
  if (place.is_cuda()) {
    place.copy_(at::from_blob(const_cast<char*>(bytes.data()), {size}, at::kByte), /*non_blocking=*/true);
  } else {
    std::memcpy(place.mutable_data_ptr(), bytes.data(), bytes.size());
  }
  return checksum_problem(manifest.bucket_checksums[bucket], bucket_checksums(place, manifest.bucket_bytes).front());
}

std::string WeightLanding::copy_shared_memory(const WeightManifest& manifest, const Parameters& parameters) {
  std::unique_ptr<Segment>& segment = segments_[manifest.shared_memory];
  if (!segment) {
    std::optional<SharedMemory> memory = SharedMemory::open(manifest.shared_memory);
    if (!memory) return "it is not there";
    segment = std::make_unique<Segment>(std::move(*memory));
    const c10::OptionalDeviceGuard guard(device_);
    if (device_.is_cuda()) segment->pinned.emplace(segment->memory.bytes(), /*read_only=*/true);
  }
  const auto whole = segment->memory.bytes();
  const std::string_view bytes(reinterpret_cast<const char*>(whole.data()), whole.size());
  std::string problem = size_problem(manifest.total_bytes, bytes.size());
  for (std::uint64_t bucket = 0; problem.empty() && bucket < manifest.bucket_checksums.size(); ++bucket) {
    problem = put(manifest, bucket, bytes.substr(bucket * manifest.bucket_bytes, bucket_size(manifest, bucket)), parameters);
    if (!problem.empty()) problem = bucket_name(manifest, bucket) + ": " + problem;
  }
  if (!problem.empty()) segments_.erase(manifest.shared_memory);
  return problem;
}

std::string WeightLanding::verify(const WeightManifest& manifest, const Parameters& parameters) const {
  const c10::OptionalStreamGuard guard(stream_);
  const std::vector<std::uint64_t> found = bucket_checksums(parameters.flat(), manifest.bucket_bytes);
  for (std::size_t i = 0; i < found.size(); ++i) {
    const std::string problem = checksum_problem(manifest.bucket_checksums[i], found[i]);
    if (!problem.empty()) return bucket_name(manifest, i) + ": " + problem;
  }
  return "";
}

}  // namespace troupe
