#include "common/tokenizer/word_cache.h"

#include <xxhash.h>

#include <algorithm>
#include <limits>

#include "common/base/error.h"

namespace troupe {

std::size_t WordCache::place_of(std::uint64_t hash, std::string_view word) const {
  std::size_t place = hash & (kSlots - 1);
  while (slots_[place].bytes != 0) {
    const Slot& slot = slots_[place];
    if (slot.hash == hash && std::string_view(texts_).substr(slot.text_at, slot.bytes) == word) break;
    place = (place + 1) & (kSlots - 1);
  }
  return place;
}

std::span<const std::int32_t> WordCache::find(std::string_view word) const {
  const Slot& slot = slots_[place_of(XXH3_64bits(word.data(), word.size()), word)];
  if (slot.bytes == 0) return {};
  return {ids_.data() + slot.ids_at, slot.ids};
}

void WordCache::insert(std::string_view word, std::span<const std::int32_t> ids) {
  check(!word.empty() && word.size() <= kMaxWordBytes && !ids.empty() && ids.size() <= std::numeric_limits<std::uint16_t>::max(),
        "WordCache: a word or its ids are out of range");
  if (words_ >= kSlots / 2) {
    std::fill(slots_.begin(), slots_.end(), Slot());
    texts_.clear();
    ids_.clear();
    words_ = 0;
  }
  const std::uint64_t hash = XXH3_64bits(word.data(), word.size());
  slots_[place_of(hash, word)] = {hash, static_cast<std::uint32_t>(texts_.size()), static_cast<std::uint32_t>(ids_.size()),
                                  static_cast<std::uint16_t>(word.size()), static_cast<std::uint16_t>(ids.size())};
  texts_.append(word);
  ids_.insert(ids_.end(), ids.begin(), ids.end());
  ++words_;
}

}  // namespace troupe
