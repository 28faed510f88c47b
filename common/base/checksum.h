#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace troupe {

/// XXH3-64 of the bytes.
std::uint64_t xxh3_64(std::span<const std::byte> bytes);
std::uint64_t xxh3_64(std::string_view bytes);

/// XXH3-128, printed as 32 lower-case hex digits (high half first, as xxhsum does).
std::string xxh3_128_hex(std::span<const std::byte> bytes);
std::string xxh3_128_hex(std::string_view bytes);

/// XXH3-128 over bytes that arrive in pieces. The same result as over all of them at once. One thread at a time.
class Hasher {
 public:
  Hasher();
  ~Hasher();
  Hasher(Hasher&&) noexcept;
  Hasher& operator=(Hasher&&) noexcept;

  void update(std::span<const std::byte> bytes);
  void update(std::string_view bytes);
  /// Adds the eight little-endian bytes of `value`.
  void update_u64(std::uint64_t value);
  /// The digest so far as 32 lower-case hex digits; more may be added afterwards.
  std::string hex() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace troupe
