#include "common/base/checksum.h"

#include <array>
#include <new>

#include <xxhash.h>

namespace troupe {
namespace {

std::string hex_of(XXH128_hash_t hash) {
  XXH128_canonical_t canonical;  // big-endian, high half first
  XXH128_canonicalFromHash(&canonical, hash);
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string text;
  for (const unsigned char byte : canonical.digest) {
    text += kDigits[byte >> 4];
    text += kDigits[byte & 15];
  }
  return text;
}

std::span<const std::byte> as_bytes(std::string_view text) { return std::as_bytes(std::span(text)); }

}  // namespace

std::uint64_t xxh3_64(std::span<const std::byte> bytes) { return XXH3_64bits(bytes.data(), bytes.size()); }
std::uint64_t xxh3_64(std::string_view bytes) { return xxh3_64(as_bytes(bytes)); }

std::string xxh3_128_hex(std::span<const std::byte> bytes) {
  return hex_of(XXH3_128bits(bytes.data(), bytes.size()));
}
std::string xxh3_128_hex(std::string_view bytes) { return xxh3_128_hex(as_bytes(bytes)); }

struct Hasher::State {
  XXH3_state_t* xxh = XXH3_createState();
  State() {
    if (xxh == nullptr) throw std::bad_alloc();
    XXH3_128bits_reset(xxh);
  }
  State(const State&) = delete;
  State& operator=(const State&) = delete;
  ~State() { XXH3_freeState(xxh); }
};

Hasher::Hasher() : state_(std::make_unique<State>()) {}
Hasher::~Hasher() = default;
Hasher::Hasher(Hasher&&) noexcept = default;
Hasher& Hasher::operator=(Hasher&&) noexcept = default;

void Hasher::update(std::span<const std::byte> bytes) {
  if (!bytes.empty()) XXH3_128bits_update(state_->xxh, bytes.data(), bytes.size());
}
void Hasher::update(std::string_view bytes) { update(as_bytes(bytes)); }

void Hasher::update_u64(std::uint64_t value) {
  std::array<std::byte, 8> bytes;
  for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<std::byte>(value >> (8 * i));
  update(std::span<const std::byte>(bytes));
}

std::string Hasher::hex() const { return hex_of(XXH3_128bits_digest(state_->xxh)); }

}  // namespace troupe
