#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace troupe {

/// The ids of words that came before: text repeats its words, and looking one up costs a small part of tokenizing it. Open
/// addressing; starts anew when it is full. One thread at a time.
class WordCache {
 public:
  static constexpr std::size_t kMaxWordBytes = 64;  // longer ones hardly come again

  WordCache() : slots_(kSlots) {}

  /// The word's ids, valid until the next `insert`; data() is null where it is not known.
  std::span<const std::int32_t> find(std::string_view word) const;
  /// A word that `find` does not know, with at least one id.
  void insert(std::string_view word, std::span<const std::int32_t> ids);

 private:
  static constexpr std::size_t kSlots = std::size_t{1} << 16;

  struct Slot {
    std::uint64_t hash = 0;
    std::uint32_t text_at = 0;
    std::uint32_t ids_at = 0;
    std::uint16_t bytes = 0;  // 0: free
    std::uint16_t ids = 0;
  };
  std::size_t place_of(std::uint64_t hash, std::string_view word) const;

  std::vector<Slot> slots_;
  std::string texts_;
  std::vector<std::int32_t> ids_;
  std::size_t words_ = 0;
};

}  // namespace troupe
