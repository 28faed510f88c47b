#include "learner/publisher.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>
#include <optional>
#include <string>

#include "common/base/error.h"
#include "common/base/shared_memory.h"
#include "common/base/word_checksum.h"

namespace troupe {
namespace {

std::string run_id() { return "publisher-test-" + std::to_string(::getpid()); }
std::string name_of(int number) { return "/troupe-" + run_id() + "-v" + std::to_string(number); }
Logger quiet() { return Logger("test", LogLevel::kError); }

/// 10.6 MB of fp32: two buckets.
Parameters parameters(at::ScalarType dtype = at::kFloat) {
  Architecture a;
  a.vocabulary = 20'000;
  a.hidden = 128;
  a.intermediate = 128;
  a.layers = 1;
  a.heads = 2;
  a.kv_heads = 2;
  a.head_size = 64;
  a.max_positions = 16;
  Parameters result(a, dtype);
  initialise_(result, 3);
  return result;
}

bool there(const std::string& name) { return SharedMemory::open(name).has_value(); }

TEST_SUITE("learner/publisher") {
  TEST_CASE("a version is its parameters' bytes, in shared memory, with a checksum a bucket") {
    const Parameters weights = parameters();
    Publisher publisher(run_id(), quiet());

    const PublishedWeights published = publisher.publish(weights, 3);

    const WeightManifest& manifest = published.manifest;
    CHECK_NOTHROW(manifest.validate());
    CHECK(manifest.version == 3);
    CHECK(manifest.dtype == "fp32");
    CHECK(manifest.total_bytes == weights.flat().nbytes());
    CHECK(manifest.bucket_bytes == 8 << 20);
    REQUIRE(manifest.bucket_checksums.size() == 2);
    REQUIRE(published.bytes.size() == manifest.total_bytes);
    CHECK(std::memcmp(published.bytes.data(), weights.flat().const_data_ptr(), published.bytes.size()) == 0);
    CHECK(manifest.bucket_checksums[0] == word_checksum(published.bytes.substr(0, 8 << 20)));
    CHECK(manifest.bucket_checksums[1] == word_checksum(published.bytes.substr(8 << 20)));
    REQUIRE(manifest.tensors.size() == weights.layout().tensors.size());
    CHECK(manifest.tensors[1].name == weights.layout().tensors[1].name);
    CHECK(manifest.tensors[1].offset_bytes == static_cast<std::uint64_t>(weights.layout().tensors[1].offset) * 4);

    CHECK(manifest.shared_memory == name_of(0));
    const std::optional<SharedMemory> memory = SharedMemory::open(manifest.shared_memory);
    REQUIRE(memory);
    REQUIRE(memory->bytes().size() == published.bytes.size());
    CHECK(std::memcmp(memory->bytes().data(), published.bytes.data(), published.bytes.size()) == 0);
    struct stat status {};
    const int fd = ::shm_open(manifest.shared_memory.c_str(), O_RDONLY, 0);
    CHECK(::fstat(fd, &status) == 0);
    ::close(fd);
    CHECK((status.st_mode & 0777) == 0600);
  }

  TEST_CASE("bf16 weights are published as bf16") {
    Publisher publisher(run_id(), quiet());

    const PublishedWeights published = publisher.publish(parameters(at::kBFloat16), 1);

    CHECK_NOTHROW(published.manifest.validate());
    CHECK(published.manifest.dtype == "bf16");
    CHECK(published.manifest.total_bytes == parameters().flat().nbytes() / 2);
  }

  TEST_CASE("the memory of a version that was let go serves for a later one, and goes with the publisher") {
    std::optional<Publisher> publisher(std::in_place, run_id(), quiet());
    std::optional<PublishedWeights> first = publisher->publish(parameters(), 1);
    std::optional<PublishedWeights> second = publisher->publish(parameters(), 2);
    CHECK(first->manifest.shared_memory == name_of(0));
    CHECK(second->manifest.shared_memory == name_of(1));
    const std::string before(second->bytes);

    first.reset();
    Parameters other = parameters();
    other.flat().fill_(2.5);
    const PublishedWeights third = publisher->publish(other, 3);

    CHECK(third.manifest.shared_memory == name_of(0));
    CHECK(std::memcmp(third.bytes.data(), other.flat().const_data_ptr(), third.bytes.size()) == 0);
    CHECK(second->bytes == before);
    second.reset();
    publisher->clear();
    CHECK(there(name_of(0)));
    CHECK_FALSE(there(name_of(1)));

    publisher.reset();
    CHECK_FALSE(there(name_of(0)));
  }

  TEST_CASE("leftovers of a killed run of the same id are cleared, those of others are not") {
    const std::string other = "/troupe-" + run_id() + "-v1-v5";  // the run "…-v1"
    for (const std::string& name : {name_of(7), other}) {
      ::close(::shm_open(name.c_str(), O_CREAT | O_RDWR, 0600));
    }

    const Publisher publisher(run_id(), quiet());

    CHECK_FALSE(there(name_of(7)));
    CHECK(there(other));
    ::shm_unlink(other.c_str());
  }

  TEST_CASE("where shared memory cannot be had the version is for the stream alone") {
    Publisher publisher(run_id(), quiet());
    ::close(::shm_open(name_of(0).c_str(), O_CREAT | O_RDWR, 0600));  // in the way

    const PublishedWeights published = publisher.publish(parameters(), 9);

    CHECK(published.manifest.shared_memory.empty());
    CHECK(published.bytes.size() == published.manifest.total_bytes);
    CHECK(published.manifest.bucket_checksums[0] == word_checksum(published.bytes.substr(0, 8 << 20)));
  }

  TEST_CASE("a run id that cannot be part of a name is refused") {
    CHECK_THROWS_WITH_AS(Publisher("", quiet()), doctest::Contains("run id"), ConfigError);
    CHECK_THROWS_WITH_AS(Publisher("a/b", quiet()), doctest::Contains("a/b"), ConfigError);
    CHECK_THROWS_AS(Publisher(std::string(201, 'x'), quiet()), ConfigError);
  }
}

}  // namespace
}  // namespace troupe
