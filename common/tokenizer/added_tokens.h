#pragma once

#include <cstddef>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "common/tokenizer/bpe_model.h"
#include "common/tokenizer/normalizer.h"

namespace troupe {

/// An entry of a tokenizer.json's "added_tokens": a token that is found in the text itself, before the model sees it.
struct AddedToken {
  std::int32_t id = -1;
  std::string content;
  std::string pattern;  // what is looked for: the content, or for a normalized token the normalized content
  bool single_word = false;
  bool lstrip = false;  // takes the white space on its left with it
  bool rstrip = false;
  bool normalized = false;  // looked for in the normalized text
  bool special = false;
};

/// The added tokens of a tokenizer. Immutable: any thread.
class AddedTokens {
 public:
  /// @throws ConfigError naming `where` and the token whose id is not the one that Hugging Face would give it.
  static AddedTokens from_json(const nlohmann::json& json, const BpeModel& model, const Normalizer& normalizer,
                               const std::string& where);

  /// A stretch of text: an added token, or text between two of them.
  struct Piece {
    std::size_t begin;
    std::size_t end;
    std::int32_t id;  // -1 for text
  };
  /// `text` cut at its added tokens, the longest at each place, from the left; those with `normalized` as given.
  std::vector<Piece> find(std::string_view text, bool normalized) const;

  /// The token with this id; null where it is not an added one.
  const AddedToken* token_of(std::int32_t id) const;
  const AddedToken* token_of(std::string_view content) const;
  std::int32_t id_end() const { return id_end_; }

 private:
  /// All patterns as a tree of bytes.
  class Trie {
   public:
    Trie() : nodes_(1) {}
    /// False where the pattern is there already.
    bool insert(std::string_view pattern, std::size_t token);
    /// The token with the longest pattern at the start of `text`.
    std::optional<std::size_t> longest(std::string_view text) const;
    bool starts(char first) const { return starts_[static_cast<std::uint8_t>(first)]; }

   private:
    struct Node {
      std::unordered_map<char, std::size_t> children;
      std::optional<std::size_t> token;
    };
    std::vector<Node> nodes_;
    std::vector<bool> starts_ = std::vector<bool>(256, false);
  };

  void add(AddedToken token, const std::string& where);

  std::vector<AddedToken> tokens_;
  std::unordered_map<std::int32_t, std::size_t> by_id_;
  std::unordered_map<std::string, std::size_t> by_content_;
  Trie raw_;
  Trie normalized_;
  std::int32_t id_end_ = 0;
};

}  // namespace troupe
