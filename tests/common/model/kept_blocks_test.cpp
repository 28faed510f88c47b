#include "common/model/kept_blocks.h"

#include <ATen/Functions.h>  // before doctest: both define CHECK, the last one counts
#include <doctest/doctest.h>

#include <thread>
#include <vector>

using namespace troupe;

namespace {

at::Tensor bytes(std::int64_t count) { return at::empty({count}, at::kByte); }

constexpr std::int64_t kMiB = 1 << 20;

}  // namespace

TEST_SUITE("model/kept_blocks") {
  TEST_CASE("a large block is used again where it fits, and what is unused is never more than what is in use") {
    keep_large_blocks();
    const at::Tensor in_use = bytes(64 * kMiB);
    const std::size_t before = kept_bytes();
    at::Tensor block = bytes(8 * kMiB);
    const void* const place = block.const_data_ptr();
    block.reset();
    CHECK(kept_bytes() == before + 8 * kMiB);
    const at::Tensor small = bytes(kMiB / 2), much_less = bytes(6 * kMiB), less = bytes(7 * kMiB);
    CHECK(much_less.const_data_ptr() != place);  // too much of it would be wasted
    CHECK(less.const_data_ptr() == place);
    CHECK(kept_bytes() == before);

    std::vector<at::Tensor> many;
    for (int i = 0; i < 40; ++i) many.push_back(bytes(4 * kMiB));
    many.clear();
    CHECK(kept_bytes() > before);
    CHECK(kept_bytes() <= 80 * kMiB);  // of 160: in_use and the two blocks are 77
  }

  TEST_CASE("blocks that threads pass to each other keep their contents") {
    keep_large_blocks();
    const at::Tensor in_use = bytes(256 * kMiB);
    std::vector<at::Tensor> made(8);
    std::vector<std::thread> threads;
    for (int t = 0; t < 8; ++t) {
      threads.emplace_back([&made, t] {
        for (int turn = 0; turn < 20; ++turn) {
          at::Tensor mine = bytes((1 + t % 3) * kMiB).fill_(t);
          CHECK(mine.eq(t).all().item<bool>());
          made[static_cast<std::size_t>(t)] = mine.clone();
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
    for (int t = 0; t < 8; ++t) CHECK(made[static_cast<std::size_t>(t)].eq(t).all().item<bool>());
  }
}
