#include "actors/weight_landing.h"

#include <ATen/ATen.h>
#include <doctest/doctest.h>
#include <unistd.h>

#include <cstring>
#include <string>

#include "common/base/shared_memory.h"
#include "common/model/broadcast_group.h"
#include "tests/actors/weights_testing.h"
#include "tests/common/model/model_testing.h"

namespace troupe {
namespace {

constexpr std::uint64_t kBucket = 50'000;

Parameters weights(std::uint64_t seed) { return testing::random_parameters(testing::small_architecture(), at::kBFloat16, seed); }

TEST_SUITE("actors/cuda/weight_landing") {
  TEST_CASE("a version comes from shared memory to the GPU, twice by the same mapping, and a wrong bucket is told") {
    WeightLanding landing(testing::small_architecture(), at::Device(at::kCUDA, 0));
    testing::Published published = testing::publish(weights(1), 4, kBucket);
    published.manifest.shared_memory = "/troupe-landing-" + std::to_string(::getpid()) + "-v4";
    SharedMemory memory = SharedMemory::create(published.manifest.shared_memory, published.bytes.size());
    std::memcpy(memory.writable_bytes().data(), published.bytes.data(), published.bytes.size());
    const Parameters parameters = landing.room("bf16");

    CHECK(landing.copy_shared_memory(published.manifest, parameters) == "");
    CHECK(at::equal(parameters.flat().cpu(), weights(1).flat()));
    CHECK(landing.verify(published.manifest, parameters) == "");
    testing::Published second = testing::publish(weights(2), 5, kBucket);
    second.manifest.shared_memory = published.manifest.shared_memory;
    std::memcpy(memory.writable_bytes().data(), second.bytes.data(), second.bytes.size());
    CHECK(landing.copy_shared_memory(second.manifest, parameters) == "");
    CHECK(at::equal(parameters.flat().cpu(), weights(2).flat()));

    memory.writable_bytes()[kBucket + 7] ^= std::byte{1};
    CHECK(landing.copy_shared_memory(second.manifest, parameters).find("bucket 1 of") == 0);
    CHECK(landing.verify(second.manifest, parameters).find("bucket 1 of") == 0);
  }

  TEST_CASE("GPUs have names of their own") {
    CHECK(gpu_name(at::Device(at::kCUDA, 0)).size() == 36);
    CHECK(gpu_name(at::kCPU).empty());
  }
}

}  // namespace
}  // namespace troupe
