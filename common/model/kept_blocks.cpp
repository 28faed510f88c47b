#include "common/model/kept_blocks.h"

#include <c10/core/Allocator.h>
#include <c10/core/CPUAllocator.h>

#include <iterator>
#include <map>
#include <memory>
#include <mutex>
#include <utility>

namespace troupe {
namespace {

constexpr std::size_t kLarge = std::size_t{1} << 20;
constexpr double kWaste = 1.25;  // a block may be so many times as large as what is asked for

/// Hands out the system allocator's blocks, and keeps the large ones that come back.
class KeptBlocks final : public c10::Allocator {
 public:
  at::DataPtr allocate(std::size_t bytes) override {
    if (bytes < kLarge) return system_.allocate(bytes);
    auto block = take(bytes);
    void* const data = block->memory.get();
    return {data, block.release(), &give_back, at::Device(at::kCPU)};
  }

  at::DeleterFnPtr raw_deleter() const override { return nullptr; }  // large blocks have a context of their own

  void copy_data(void* to, const void* from, std::size_t bytes) const override { system_.copy_data(to, from, bytes); }

  std::size_t kept_bytes() {
    const std::lock_guard lock(mutex_);
    return kept_bytes_;
  }

  static KeptBlocks& instance() {
    static KeptBlocks* const blocks = new KeptBlocks;  // outlives every tensor
    return *blocks;
  }

 private:
  struct Block {
    std::size_t bytes;
    at::DataPtr memory;
  };

  std::unique_ptr<Block> take(std::size_t bytes) {
    const std::lock_guard lock(mutex_);
    const auto found = kept_.lower_bound(bytes);
    std::unique_ptr<Block> block;
    if (found != kept_.end() && static_cast<double>(found->first) <= kWaste * static_cast<double>(bytes)) {
      block = std::move(found->second);
      kept_bytes_ -= block->bytes;
      kept_.erase(found);
    } else {
      block = std::make_unique<Block>(Block{bytes, system_.allocate(bytes)});
    }
    used_bytes_ += block->bytes;
    return block;
  }

  static void give_back(void* context) {
    std::unique_ptr<Block> block(static_cast<Block*>(context));
    KeptBlocks& all = instance();
    const std::lock_guard lock(all.mutex_);
    all.used_bytes_ -= block->bytes;
    all.kept_bytes_ += block->bytes;
    all.kept_.emplace(block->bytes, std::move(block));
    all.trim();
  }

  /// The largest go first.
  void trim() {
    while (kept_bytes_ > used_bytes_) {
      const auto largest = std::prev(kept_.end());
      kept_bytes_ -= largest->first;
      kept_.erase(largest);
    }
  }

  c10::Allocator& system_ = *c10::GetDefaultCPUAllocator();
  std::mutex mutex_;
  std::multimap<std::size_t, std::unique_ptr<Block>> kept_;  // by size
  std::size_t kept_bytes_ = 0, used_bytes_ = 0;
};

}  // namespace

void keep_large_blocks() { c10::SetCPUAllocator(&KeptBlocks::instance(), /*priority=*/1); }

std::size_t kept_bytes() { return KeptBlocks::instance().kept_bytes(); }

}  // namespace troupe
