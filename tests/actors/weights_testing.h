#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <string_view>

#include "common/base/word_checksum.h"
#include "common/messages/weight_manifest.h"
#include "common/model/parameters.h"

namespace troupe::testing {

/// A version as a learner publishes it, made without the publisher.
struct Published {
  WeightManifest manifest;
  std::string bytes;

  std::string bucket(std::uint64_t index) const {
    return bytes.substr(index * manifest.bucket_bytes, manifest.bucket_bytes);
  }
};

inline Published publish(const Parameters& parameters, std::uint64_t version, std::uint64_t bucket_bytes) {
  Published published;
  const at::Tensor& flat = parameters.flat();
  published.bytes.assign(static_cast<const char*>(flat.const_data_ptr()), flat.nbytes());
  WeightManifest& manifest = published.manifest;
  manifest.version = version;
  manifest.dtype = flat.scalar_type() == at::kFloat ? "fp32" : "bf16";
  manifest.total_bytes = flat.nbytes();
  manifest.bucket_bytes = bucket_bytes;
  for (const ParameterSpec& spec : parameters.layout().tensors) {
    const auto element = static_cast<std::uint64_t>(flat.element_size());
    manifest.tensors.push_back({spec.name, spec.shape, static_cast<std::uint64_t>(spec.offset) * element,
                                static_cast<std::uint64_t>(spec.numel) * element});
  }
  for (std::uint64_t start = 0; start < published.bytes.size(); start += bucket_bytes) {
    manifest.bucket_checksums.push_back(word_checksum(std::string_view(published.bytes).substr(start, bucket_bytes)));
  }
  return published;
}

}  // namespace troupe::testing
