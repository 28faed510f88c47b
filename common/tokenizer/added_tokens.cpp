#include "common/tokenizer/added_tokens.h"

#include <utf8proc.h>

#include <algorithm>
#include <utility>

#include "common/base/error.h"
#include "common/base/strict_json.h"
#include "common/base/utf8.h"
#include "common/tokenizer/newer_characters.h"

namespace troupe {
namespace {

/// \s of Rust's regex: the Unicode property White_Space.
bool is_space(char32_t c) {
  return (c >= 0x09 && c <= 0x0D) || c == 0x20 || c == 0x85 || c == 0xA0 || c == 0x1680 ||
         (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000;
}

/// \w of Rust's regex: Alphabetic, M, Nd, Pc and Join_Control.
bool is_word(char32_t c) {
  switch (utf8proc_category(static_cast<utf8proc_int32_t>(older_character(c)))) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_PC:
      return true;
    default:  // circled and squared letters are Alphabetic by exception (Other_Alphabetic)
      return c == 0x200C || c == 0x200D || (c >= 0x24B6 && c <= 0x24E9) || (c >= 0x1F130 && c <= 0x1F149) ||
             (c >= 0x1F150 && c <= 0x1F169) || (c >= 0x1F170 && c <= 0x1F189);
  }
}

bool word_before(std::string_view text) {
  return !text.empty() && is_word(code_point_at(text, last_character(text)).value);
}

bool word_after(std::string_view text) { return !text.empty() && is_word(code_point_at(text, 0).value); }

/// `end` moved left over white space.
std::size_t skip_space_left(std::string_view text, std::size_t end) {
  while (end > 0) {
    const std::size_t at = last_character(text.substr(0, end));
    if (!is_space(code_point_at(text, at).value)) break;
    end = at;
  }
  return end;
}

std::size_t skip_space_right(std::string_view text, std::size_t at) {
  while (at < text.size()) {
    const CodePoint character = code_point_at(text, at);
    if (!is_space(character.value)) break;
    at += character.bytes;
  }
  return at;
}

}  // namespace

bool AddedTokens::Trie::insert(std::string_view pattern, std::size_t token) {
  std::size_t node = 0;
  for (const char byte : pattern) {
    const auto [child, is_new] = nodes_[node].children.try_emplace(byte, nodes_.size());
    node = child->second;
    if (is_new) nodes_.emplace_back();
  }
  starts_[static_cast<std::uint8_t>(pattern.front())] = true;
  if (nodes_[node].token) return false;
  nodes_[node].token = token;
  return true;
}

std::optional<std::size_t> AddedTokens::Trie::longest(std::string_view text) const {
  std::optional<std::size_t> best;
  std::size_t node = 0;
  for (const char byte : text) {
    const auto child = nodes_[node].children.find(byte);
    if (child == nodes_[node].children.end()) break;
    node = child->second;
    if (nodes_[node].token) best = nodes_[node].token;
  }
  return best;
}

AddedTokens AddedTokens::from_json(const nlohmann::json& json, const BpeModel& model, const Normalizer& normalizer,
                                   const std::string& where) {
  AddedTokens added;
  if (json.is_null()) return added;
  if (!json.is_array()) throw ConfigError(where + ": added_tokens: expected an array, found " + json.type_name());
  // Hugging Face ignores the file's ids: a token of the model keeps the model's, a new one gets the next free number.
  auto next_id = static_cast<std::int32_t>(model.tokens());
  for (const auto& entry : json) {
    const std::string here = where + ": added_tokens";
    AddedToken token;
    token.content = json_get<std::string>(entry, "content", here);
    if (token.content.empty()) throw ConfigError(here + ": a token is empty");
    token.single_word = json_get_or<bool>(entry, "single_word", false, here);
    token.lstrip = json_get_or<bool>(entry, "lstrip", false, here);
    token.rstrip = json_get_or<bool>(entry, "rstrip", false, here);
    token.special = json_get_or<bool>(entry, "special", false, here);
    token.normalized = json_get_or<bool>(entry, "normalized", !token.special, here);
    token.pattern = token.normalized ? normalizer(token.content) : token.content;
    const auto given = json_get<std::int64_t>(entry, "id", here);
    const auto in_model = model.id_of(token.content);
    token.id = in_model ? *in_model : next_id++;
    if (given != token.id) {
      throw ConfigError(here + ": \"" + token.content + "\" has id " + std::to_string(given) + ", expected " +
                        std::to_string(token.id) + (in_model ? ", its id in the vocabulary" : ", the next free one"));
    }
    added.add(std::move(token), here);
  }
  return added;
}

void AddedTokens::add(AddedToken token, const std::string& where) {
  const std::size_t index = tokens_.size();
  if (!(token.normalized ? normalized_ : raw_).insert(token.pattern, index)) {
    throw ConfigError(where + ": \"" + token.content + "\" stands twice");
  }
  by_id_.emplace(token.id, index);
  by_content_.emplace(token.content, index);
  id_end_ = std::max(id_end_, token.id + 1);
  tokens_.push_back(std::move(token));
}

std::vector<AddedTokens::Piece> AddedTokens::find(std::string_view text, bool normalized) const {
  const Trie& trie = normalized ? normalized_ : raw_;
  std::vector<Piece> pieces;
  std::size_t covered = 0;
  for (std::size_t at = 0; at < text.size();) {
    const auto found = trie.starts(text[at]) ? trie.longest(text.substr(at)) : std::nullopt;
    if (!found) {
      ++at;
      continue;
    }
    const AddedToken& token = tokens_[*found];
    std::size_t begin = at;
    std::size_t end = at + token.pattern.size();
    at = end;  // the search goes on behind the token itself, also where it is discarded or takes more with it
    if (token.single_word && (word_before(text.substr(0, begin)) || word_after(text.substr(end)))) continue;
    if (token.lstrip) begin = skip_space_left(text, begin);
    if (token.rstrip) end = skip_space_right(text, end);
    if (covered < begin) pieces.push_back({covered, begin, -1});
    pieces.push_back({begin, end, token.id});
    covered = end;
  }
  if (covered < text.size()) pieces.push_back({covered, text.size(), -1});
  return pieces;
}

const AddedToken* AddedTokens::token_of(std::int32_t id) const {
  const auto found = by_id_.find(id);
  return found == by_id_.end() ? nullptr : &tokens_[found->second];
}

const AddedToken* AddedTokens::token_of(std::string_view content) const {
  const auto found = by_content_.find(std::string(content));
  return found == by_content_.end() ? nullptr : &tokens_[found->second];
}

}  // namespace troupe
