#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace troupe {

/// Byte-pair encoding with the vocabulary and merges of a tokenizer.json's "model" (Sennrich, Haddow, Birch: "Neural
/// machine translation of rare words with subword units", ACL 2016), with Hugging Face's byte fallback, unknown token
/// and ignore_merges. Immutable: any thread.
class BpeModel {
 public:
  /// @throws ConfigError naming `where` and the construct, token or merge that is wrong or not supported.
  static BpeModel from_json(const nlohmann::json& json, const std::string& where);

  /// Appends the ids of one piece (well-formed UTF-8). A character without a token, byte tokens or an unknown token
  /// vanishes, as in Hugging Face's. O(n log n).
  void encode(std::string_view piece, std::vector<std::int32_t>& ids) const;

  /// Cuts a piece where no merge can join what stands left and right, so that the parts' ids are the piece's: before "\u2581" (the
  /// space of SentencePiece) behind a character that no token has before one. Such a model has no pre-tokenizer, and whole
  /// texts are its pieces.
  void for_each_word(std::string_view piece, const std::function<void(std::string_view word)>& take) const;

  std::optional<std::int32_t> id_of(std::string_view token) const;
  /// The token with this id; nothing where there is none.
  const std::string* token_of(std::int32_t id) const;
  /// How many tokens there are, and one past the highest id: they differ where ids are left out.
  std::size_t tokens() const { return ids_.size(); }
  std::int32_t id_end() const { return static_cast<std::int32_t>(tokens_.size()); }

 private:
  struct TextHash {
    using is_transparent = void;
    std::size_t operator()(std::string_view text) const { return std::hash<std::string_view>()(text); }
  };
  struct Merge {
    std::int32_t rank;
    std::int32_t id;
  };
  /// Merges by pair, by open addressing: one look-up for each pair that arises is most of the work.
  class MergeTable {
   public:
    explicit MergeTable(std::size_t merges);
    void insert_or_assign(std::int32_t left, std::int32_t right, Merge merge);
    const Merge* find(std::int32_t left, std::int32_t right) const;

   private:
    struct Slot {
      std::uint64_t pair;
      Merge merge;
    };
    std::size_t slot_of(std::uint64_t pair) const;
    std::vector<Slot> slots_;
    int shift_;
  };

  BpeModel() : merges_(0) {}
  void read_vocabulary(const nlohmann::json& json, const std::string& where);
  void read_merges(const nlohmann::json& json, const std::string& where);
  void index_characters();
  void index_word_starts(std::string_view merged);
  std::int32_t id_of_character(char32_t character) const;
  void characters_of(std::string_view piece, std::vector<std::int32_t>& symbols) const;
  /// Both append the ids of a piece's characters after all merges: by scanning, for pieces as short as words are, and by a heap.
  void merge_short(std::span<const std::int32_t> characters, std::vector<std::int32_t>& ids) const;
  void merge_long(std::span<const std::int32_t> characters, std::vector<std::int32_t>& ids) const;

  std::unordered_map<std::string, std::int32_t, TextHash, std::equal_to<>> ids_;
  std::vector<std::optional<std::string>> tokens_;  // by id
  MergeTable merges_;
  std::vector<std::int32_t> id_of_low_character_;  // -1 where a character below U+10000 is no token
  std::vector<std::int32_t> id_of_byte_;           // of "<0x00>" … "<0xFF>"; empty without byte_fallback
  std::int32_t unknown_ = -1;
  bool fuse_unknown_ = false;
  bool ignore_merges_ = false;
  std::set<char32_t> before_space_;  // characters that stand before "\u2581" in a merged token
};

}  // namespace troupe
