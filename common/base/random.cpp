#include "common/base/random.h"

#include <cmath>
#include <numbers>

namespace troupe {
namespace {

constexpr int kRounds = 10;
constexpr std::uint64_t kMultiplier0 = 0xD2511F53;
constexpr std::uint64_t kMultiplier1 = 0xCD9E8D57;
constexpr std::uint32_t kWeyl0 = 0x9E3779B9;  // golden ratio
constexpr std::uint32_t kWeyl1 = 0xBB67AE85;  // sqrt(3) - 1

std::uint32_t low(std::uint64_t value) { return static_cast<std::uint32_t>(value); }
std::uint32_t high(std::uint64_t value) { return static_cast<std::uint32_t>(value >> 32); }

std::uint64_t join(std::uint32_t high_word, std::uint32_t low_word) {
  return static_cast<std::uint64_t>(high_word) << 32 | low_word;
}

/// The 53 high bits as a number in [0, 1).
double unit_interval(std::uint64_t bits) { return static_cast<double>(bits >> 11) * 0x1p-53; }

}  // namespace

std::array<std::uint32_t, 4> philox4x32(const std::array<std::uint32_t, 4>& counter,
                                        const std::array<std::uint32_t, 2>& key) {
  auto [c0, c1, c2, c3] = counter;
  auto [k0, k1] = key;
  for (int round = 0; round < kRounds; ++round) {
    const std::uint64_t product0 = kMultiplier0 * c0;
    const std::uint64_t product1 = kMultiplier1 * c2;
    c0 = high(product1) ^ c1 ^ k0;
    c1 = low(product1);
    c2 = high(product0) ^ c3 ^ k1;
    c3 = low(product0);
    k0 += kWeyl0;
    k1 += kWeyl1;
  }
  return {c0, c1, c2, c3};
}

std::uint64_t seed_for(std::uint64_t run_seed, Stream stream) {
  const auto words = philox4x32({static_cast<std::uint32_t>(stream), 0, 0, 0}, {low(run_seed), high(run_seed)});
  return join(words[0], words[1]);
}

double uniform_at(std::uint64_t seed, std::uint64_t group, std::uint32_t sample, std::uint32_t position) {
  const auto words = philox4x32({low(group), high(group), sample, position}, {low(seed), high(seed)});
  return unit_interval(join(words[0], words[1]));
}

double normal_at(std::uint64_t seed, std::uint64_t index) {
  // A sample and position that no completion reaches: normals and uniforms of one seed never share a counter.
  constexpr std::uint32_t kNormals = 0xFFFFFFFF;
  const auto words = philox4x32({low(index), high(index), kNormals, kNormals}, {low(seed), high(seed)});
  const double u = 1.0 - unit_interval(join(words[0], words[1]));  // (0, 1], so that the logarithm is finite
  const double v = unit_interval(join(words[2], words[3]));
  return std::sqrt(-2.0 * std::log(u)) * std::cos(2.0 * std::numbers::pi * v);
}

}  // namespace troupe
