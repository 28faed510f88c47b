#include "common/model/pinned_range.h"

#include <cuda_runtime_api.h>

namespace troupe {

PinnedRange::PinnedRange(std::span<const std::byte> bytes, bool read_only) : bytes_(bytes) {
  const unsigned flags = cudaHostRegisterPortable | (read_only ? cudaHostRegisterReadOnly : 0U);
  pinned_ = cudaHostRegister(const_cast<std::byte*>(bytes.data()), bytes.size(), flags) == cudaSuccess;
  if (!pinned_) static_cast<void>(cudaGetLastError());  // or the next launch would report it
}

PinnedRange::~PinnedRange() {
  if (pinned_) static_cast<void>(cudaHostUnregister(const_cast<std::byte*>(bytes_.data())));
}

}  // namespace troupe
