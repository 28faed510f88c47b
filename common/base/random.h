#pragma once

#include <array>
#include <cstdint>

namespace troupe {

/// Streams of random numbers that never meet: the stream number is part of the key.
enum class Stream : std::uint32_t { kSampling = 0, kEvaluation = 1, kColdStart = 2, kInitialWeights = 3, kData = 4, kAdapters = 5, kCritic = 6 };

/// Philox4x32-10 (Salmon, Moraes, Dror, Shaw: "Parallel random numbers: as easy as 1, 2, 3", SC 2011): a bijection of the
/// 128-bit `counter` under the 64-bit `key`. A pure function, so a draw depends on its key and place alone.
std::array<std::uint32_t, 4> philox4x32(const std::array<std::uint32_t, 4>& counter, const std::array<std::uint32_t, 2>& key);

/// The key of a stream of a run: 64 well-mixed bits of (run seed, stream).
std::uint64_t seed_for(std::uint64_t run_seed, Stream stream);

/// The uniform number in [0, 1) with 53 random bits at (group, sample, position) of the stream with key `seed`.
/// It depends on nothing else: neither batch slot nor actor, attempt or clock.
double uniform_at(std::uint64_t seed, std::uint64_t group, std::uint32_t sample, std::uint32_t position);

/// A standard normal number at `index` of the stream with key `seed` (Box-Muller on two uniforms of `index`).
double normal_at(std::uint64_t seed, std::uint64_t index);

}  // namespace troupe
