#include "common/tokenizer/bpe_model.h"

#include <algorithm>
#include <array>
#include <bit>
#include <functional>
#include <limits>
#include <utility>

#include "common/base/error.h"
#include "common/base/strict_json.h"
#include "common/base/utf8.h"

namespace troupe {
namespace {

constexpr std::int64_t kMaxId = 1 << 24;   // far above any vocabulary; ids index arrays
constexpr std::int64_t kMaxHoles = 1 << 18;  // ids that no token has, up to which an array is worth its memory
constexpr char32_t kLowCharacters = 0x10000;
constexpr std::string_view kSpace = "\xE2\x96\x81";  // U+2581
constexpr std::size_t kShort = 48;  // characters; a scan of so few ranks beats a heap
constexpr std::uint64_t kNoPair = ~std::uint64_t{0};

std::uint64_t pair_key(std::int32_t left, std::int32_t right) {
  return static_cast<std::uint64_t>(static_cast<std::uint32_t>(left)) << 32 | static_cast<std::uint32_t>(right);
}

std::string byte_token(unsigned byte) {
  constexpr const char* kDigits = "0123456789ABCDEF";
  return {'<', '0', 'x', kDigits[byte >> 4], kDigits[byte & 15], '>'};
}

/// A merge as ["a", "b"] or "a b"; nothing for the "#version" line of a merges.txt.
std::optional<std::pair<std::string, std::string>> read_merge(const nlohmann::json& merge, const std::string& where) {
  if (merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string()) {
    return std::pair(merge[0].get<std::string>(), merge[1].get<std::string>());
  }
  if (merge.is_string()) {
    const auto& text = merge.get_ref<const std::string&>();
    if (text.rfind("#version", 0) == 0) return std::nullopt;
    const std::size_t space = text.find(' ');
    if (space != std::string::npos && text.find(' ', space + 1) == std::string::npos) {
      return std::pair(text.substr(0, space), text.substr(space + 1));
    }
  }
  throw ConfigError(where + ": merges: expected \"a b\" or [\"a\", \"b\"], found " + merge.dump());
}

/// The symbols of a piece while they are merged: a doubly linked list in an array.
struct Symbol {
  std::int32_t id;
  std::int32_t rank;  // of the merge with the next symbol, or kNoMerge
  std::int32_t merged_id;
  std::uint32_t previous;
  std::uint32_t next;
};
constexpr std::int32_t kNoMerge = std::numeric_limits<std::int32_t>::max();
constexpr std::uint32_t kNone = std::numeric_limits<std::uint32_t>::max();

}  // namespace

BpeModel::MergeTable::MergeTable(std::size_t merges) {
  const std::size_t slots = std::bit_ceil(2 * merges + 2);
  slots_.assign(slots, Slot{kNoPair, {}});
  shift_ = 64 - std::countr_zero(slots);
}

std::size_t BpeModel::MergeTable::slot_of(std::uint64_t pair) const {
  std::size_t slot = static_cast<std::size_t>((pair * 0x9E3779B97F4A7C15u) >> shift_);  // Fibonacci hashing
  while (slots_[slot].pair != pair && slots_[slot].pair != kNoPair) slot = (slot + 1) & (slots_.size() - 1);
  return slot;
}

void BpeModel::MergeTable::insert_or_assign(std::int32_t left, std::int32_t right, Merge merge) {
  const std::uint64_t pair = pair_key(left, right);
  slots_[slot_of(pair)] = {pair, merge};
}

const BpeModel::Merge* BpeModel::MergeTable::find(std::int32_t left, std::int32_t right) const {
  const Slot& slot = slots_[slot_of(pair_key(left, right))];
  return slot.pair == kNoPair ? nullptr : &slot.merge;
}

BpeModel BpeModel::from_json(const nlohmann::json& json, const std::string& where) {
  const auto type = json_get_or<std::string>(json, "type", "BPE", where);
  if (type != "BPE") throw ConfigError(where + ": model \"" + type + "\" is not supported (BPE is)");
  for (const char* key : {"continuing_subword_prefix", "end_of_word_suffix"}) {
    const auto value = json_get_or<std::string>(json, key, "", where);
    if (!value.empty()) throw ConfigError(where + ": model: " + key + " \"" + value + "\" is not supported");
  }
  if (json_get_or<double>(json, "dropout", 0.0, where) != 0)
    throw ConfigError(where + ": model: dropout is not supported");

  BpeModel model;
  model.read_vocabulary(json_member(json, "vocab", where), where);
  model.read_merges(json_member(json, "merges", where), where);
  model.fuse_unknown_ = json_get_or<bool>(json, "fuse_unk", false, where);
  model.ignore_merges_ = json_get_or<bool>(json, "ignore_merges", false, where);
  const auto unknown = json.find("unk_token");
  if (unknown != json.end() && !unknown->is_null()) {
    const auto token = json_as<std::string>(*unknown, "unk_token", where);
    const auto id = model.id_of(token);
    if (!id) throw ConfigError(where + ": model: unk_token \"" + token + "\" is not in the vocabulary");
    model.unknown_ = *id;
  }
  if (json_get_or<bool>(json, "byte_fallback", false, where)) {
    for (unsigned byte = 0; byte < 256; ++byte) model.id_of_byte_.push_back(model.id_of(byte_token(byte)).value_or(-1));
  }
  model.index_characters();
  return model;
}

void BpeModel::read_vocabulary(const nlohmann::json& json, const std::string& where) {
  if (!json.is_object()) throw ConfigError(where + ": model: vocab: expected an object, found " + json.type_name());
  ids_.reserve(json.size());
  const std::int64_t max_id = std::min(kMaxId, static_cast<std::int64_t>(json.size()) + kMaxHoles);
  for (const auto& [token, value] : json.items()) {
    const auto id = json_as<std::int64_t>(value, token, where + ": model: vocab");
    if (id < 0 || id >= max_id) {
      throw ConfigError(where + ": model: vocab: token \"" + token + "\" has id " + std::to_string(id) +
                        ", expected 0 to " + std::to_string(max_id - 1));
    }
    const auto index = static_cast<std::size_t>(id);
    if (index >= tokens_.size()) tokens_.resize(index + 1);
    if (tokens_[index]) {
      throw ConfigError(where + ": model: vocab: id " + std::to_string(id) + " is given to \"" + *tokens_[index] +
                        "\" and to \"" + token + "\"");
    }
    tokens_[index] = token;
    ids_.emplace(token, static_cast<std::int32_t>(id));
  }
}

void BpeModel::read_merges(const nlohmann::json& json, const std::string& where) {
  if (!json.is_array()) throw ConfigError(where + ": model: merges: expected an array, found " + json.type_name());
  merges_ = MergeTable(json.size());
  std::int32_t rank = 0;
  const auto id = [&](const std::string& token) {
    const auto found = id_of(token);
    if (!found) {
      throw ConfigError(where + ": model: merge " + std::to_string(rank) + ": \"" + token +
                        "\" is not in the vocabulary");
    }
    return *found;
  };
  for (const auto& entry : json) {
    const auto merge = read_merge(entry, where + ": model");
    if (!merge) continue;
    const std::int32_t left = id(merge->first);
    const std::int32_t right = id(merge->second);
    merges_.insert_or_assign(left, right, {rank, id(merge->first + merge->second)});
    index_word_starts(merge->first + merge->second);
    ++rank;
  }
}

void BpeModel::index_word_starts(std::string_view merged) {
  for (std::size_t at = merged.find(kSpace, 1); at != std::string_view::npos; at = merged.find(kSpace, at + 1)) {
    before_space_.insert(code_point_at(merged, last_character(merged.substr(0, at))).value);
  }
}

void BpeModel::for_each_word(std::string_view piece, const std::function<void(std::string_view word)>& take) const {
  std::size_t begin = 0;
  if (!ignore_merges_ && ids_.contains(kSpace)) {
    for (std::size_t at = piece.find(kSpace, 1); at != std::string_view::npos; at = piece.find(kSpace, at + 1)) {
      if (before_space_.contains(code_point_at(piece, last_character(piece.substr(0, at))).value)) continue;
      take(piece.substr(begin, at - begin));
      begin = at;
    }
  }
  take(piece.substr(begin));
}

void BpeModel::index_characters() {
  id_of_low_character_.assign(kLowCharacters, -1);
  for (const auto& [token, id] : ids_) {
    if (token.empty()) continue;
    const CodePoint first = code_point_at(token, 0);
    if (first.bytes == token.size() && first.value < kLowCharacters) id_of_low_character_[first.value] = id;
  }
}

std::int32_t BpeModel::id_of_character(char32_t character) const {
  if (character < kLowCharacters) return id_of_low_character_[character];
  std::string text;
  append_utf8(text, character);
  return id_of(text).value_or(-1);
}

std::optional<std::int32_t> BpeModel::id_of(std::string_view token) const {
  const auto found = ids_.find(token);
  if (found == ids_.end()) return std::nullopt;
  return found->second;
}

const std::string* BpeModel::token_of(std::int32_t id) const {
  if (id < 0 || id >= id_end()) return nullptr;
  const auto& token = tokens_[static_cast<std::size_t>(id)];
  return token ? &*token : nullptr;
}

void BpeModel::characters_of(std::string_view piece, std::vector<std::int32_t>& symbols) const {
  symbols.clear();
  symbols.reserve(piece.size());
  bool unknown_pending =
      false;  // Hugging Face holds an unknown back until the next known character, byte tokens pass it
  for (std::size_t i = 0; i < piece.size();) {
    const CodePoint character = code_point_at(piece, i);
    const std::string_view bytes = piece.substr(i, character.bytes);
    i += character.bytes;
    const std::int32_t id = id_of_character(character.value);
    if (id >= 0) {
      if (std::exchange(unknown_pending, false)) symbols.push_back(unknown_);
      symbols.push_back(id);
      continue;
    }
    if (!id_of_byte_.empty()) {
      const std::size_t before = symbols.size();
      for (const char byte : bytes) symbols.push_back(id_of_byte_[static_cast<std::uint8_t>(byte)]);
      bool complete = true;
      for (std::size_t k = before; k < symbols.size(); ++k) complete = complete && symbols[k] >= 0;
      if (complete) continue;
      symbols.resize(before);
    }
    if (unknown_ < 0) continue;
    if (unknown_pending && !fuse_unknown_) symbols.push_back(unknown_);
    unknown_pending = true;
  }
  if (unknown_pending) symbols.push_back(unknown_);
}

void BpeModel::encode(std::string_view piece, std::vector<std::int32_t>& ids) const {
  if (ignore_merges_) {
    if (const auto id = id_of(piece)) {
      ids.push_back(*id);
      return;
    }
  }
  thread_local std::vector<std::int32_t> characters;
  characters_of(piece, characters);
  check(characters.size() < kNone, "a piece of text has more than 2^32 - 2 characters");
  return characters.size() <= kShort ? merge_short(characters, ids) : merge_long(characters, ids);
}

void BpeModel::merge_short(std::span<const std::int32_t> characters, std::vector<std::int32_t>& ids) const {
  std::array<std::int32_t, kShort> symbols;
  std::array<Merge, kShort> merges;  // of symbol i with the next
  std::size_t count = characters.size();
  std::copy(characters.begin(), characters.end(), symbols.begin());
  const auto merge_at = [&](std::size_t i) {
    const Merge* merge = i + 1 < count ? merges_.find(symbols[i], symbols[i + 1]) : nullptr;
    return merge != nullptr ? *merge : Merge{kNoMerge, -1};
  };
  for (std::size_t i = 0; i < count; ++i) merges[i] = merge_at(i);
  while (count > 1) {
    std::size_t best = 0;  // the leftmost of equal ranks
    for (std::size_t i = 1; i + 1 < count; ++i) {
      if (merges[i].rank < merges[best].rank) best = i;
    }
    if (merges[best].rank == kNoMerge) break;
    symbols[best] = merges[best].id;
    const auto gap = static_cast<std::ptrdiff_t>(best) + 1;
    std::copy(symbols.begin() + gap + 1, symbols.begin() + static_cast<std::ptrdiff_t>(count), symbols.begin() + gap);
    std::copy(merges.begin() + gap + 1, merges.begin() + static_cast<std::ptrdiff_t>(count), merges.begin() + gap);
    --count;
    merges[best] = merge_at(best);
    if (best > 0) merges[best - 1] = merge_at(best - 1);
  }
  ids.insert(ids.end(), symbols.begin(), symbols.begin() + static_cast<std::ptrdiff_t>(count));
}

void BpeModel::merge_long(std::span<const std::int32_t> characters, std::vector<std::int32_t>& ids) const {
  const auto count = static_cast<std::uint32_t>(characters.size());
  std::vector<Symbol> symbols(count);
  // The merge of lowest rank first, the leftmost of equal ones: both in one number.
  std::vector<std::uint64_t> candidates;
  const auto look_up = [&](std::uint32_t at) {
    Symbol& symbol = symbols[at];
    const Merge* merge = symbol.next == kNone ? nullptr : merges_.find(symbol.id, symbols[symbol.next].id);
    symbol.rank = merge ? merge->rank : kNoMerge;
    if (!merge) return false;
    symbol.merged_id = merge->id;
    candidates.push_back(static_cast<std::uint64_t>(merge->rank) << 32 | at);
    return true;
  };
  for (std::uint32_t i = 0; i < count; ++i) {
    symbols[i] = {characters[i], kNoMerge, -1, i == 0 ? kNone : i - 1, i + 1 == count ? kNone : i + 1};
  }
  for (std::uint32_t i = 0; i < count; ++i) look_up(i);
  const auto push = [&](std::uint32_t at) {
    if (look_up(at)) std::push_heap(candidates.begin(), candidates.end(), std::greater<>());
  };
  std::make_heap(candidates.begin(), candidates.end(), std::greater<>());
  while (!candidates.empty()) {
    std::pop_heap(candidates.begin(), candidates.end(), std::greater<>());
    const std::uint64_t top = candidates.back();
    candidates.pop_back();
    const auto at = static_cast<std::uint32_t>(top);
    Symbol& symbol = symbols[at];
    if (symbol.rank != static_cast<std::int32_t>(top >> 32)) continue;  // merged or changed since it was pushed
    Symbol& right = symbols[symbol.next];
    symbol.id = symbol.merged_id;
    symbol.next = right.next;
    right.id = -1;
    right.rank = kNoMerge;
    if (symbol.next != kNone) symbols[symbol.next].previous = at;
    push(at);
    if (symbol.previous != kNone) push(symbol.previous);
  }
  for (std::uint32_t i = 0; i < count; i = symbols[i].next) {
    ids.push_back(symbols[i].id);
    if (symbols[i].next == kNone) break;
  }
}

}  // namespace troupe
