#pragma once

#include <cstddef>
#include <span>

namespace troupe {

/// Memory of this process that a GPU copies from and to without a detour, for as long as this object lives; where the driver refuses, or
/// without CUDA, memory as any other. It must outlive this.
class PinnedRange {
 public:
  /// `read_only` where the pages cannot be written.
  PinnedRange(std::span<const std::byte> bytes, bool read_only);
  ~PinnedRange();
  PinnedRange(const PinnedRange&) = delete;
  PinnedRange& operator=(const PinnedRange&) = delete;

  bool pinned() const { return pinned_; }

 private:
  std::span<const std::byte> bytes_;
  bool pinned_ = false;
};

}  // namespace troupe
