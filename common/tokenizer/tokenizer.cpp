#include "common/tokenizer/tokenizer.h"

#include <algorithm>
#include <mutex>
#include <utility>

#include "common/base/error.h"
#include "common/base/strict_json.h"
#include "common/base/utf8.h"
#include "common/tokenizer/added_tokens.h"
#include "common/tokenizer/bpe_model.h"
#include "common/tokenizer/byte_level.h"
#include "common/tokenizer/normalizer.h"
#include "common/tokenizer/post_processor.h"
#include "common/tokenizer/pre_tokenizer.h"
#include "common/tokenizer/token_decoder.h"
#include "common/tokenizer/vocabulary_files.h"
#include "common/tokenizer/word_cache.h"

namespace troupe {

struct Tokenizer::Impl {
  std::string where;
  Normalizer normalizer;
  PreTokenizer pre_tokenizer;
  BpeModel model;
  AddedTokens added;
  PostProcessor post_processor;
  TokenDecoder decoder;

  mutable std::mutex known_mutex;
  mutable WordCache known;  // under the mutex; who finds it taken does without

  /// Ids of text without added tokens of the raw kind; `at_start` says that it stands at the start of all.
  void encode_text(std::string_view text, bool at_start, std::vector<std::int32_t>& ids) const;
  /// A piece of the pre-tokenizer, which is nothing that a merge crosses; `cache` may be null.
  void encode_word(std::string_view word, WordCache* cache, std::vector<std::int32_t>& ids) const;
  std::int32_t id_end() const { return std::max(model.id_end(), added.id_end()); }
};

Tokenizer::Tokenizer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Tokenizer::Tokenizer(Tokenizer&&) noexcept = default;
Tokenizer& Tokenizer::operator=(Tokenizer&&) noexcept = default;
Tokenizer::~Tokenizer() = default;

Tokenizer Tokenizer::load(const std::filesystem::path& folder) {
  return from_json(tokenizer_json_of(folder), tokenizer_file_of(folder).string());
}

Tokenizer Tokenizer::from_json(std::string_view text, const std::string& where) {
  const nlohmann::json json = parse_json(text, where);
  const auto part = [&](const char* key) {
    return json.is_object() && json.contains(key) ? json[key] : nlohmann::json();
  };
  // "truncation" and "padding" are left alone: transformers turns them off too unless a call asks for them.
  Normalizer normalizer = Normalizer::from_json(part("normalizer"), where);
  BpeModel model = BpeModel::from_json(json_member(json, "model", where), where);
  AddedTokens added = AddedTokens::from_json(part("added_tokens"), model, normalizer, where);
  return Tokenizer(std::unique_ptr<Impl>(
      new Impl{where, std::move(normalizer), PreTokenizer::from_json(part("pre_tokenizer"), where), std::move(model),
               std::move(added), PostProcessor::from_json(part("post_processor"), where),
               TokenDecoder::from_json(part("decoder"), where), {}, {}}));
}

void Tokenizer::Impl::encode_text(std::string_view text, bool at_start, std::vector<std::int32_t>& ids) const {
  const std::unique_lock lock(known_mutex, std::try_to_lock);
  WordCache* cache = lock.owns_lock() ? &known : nullptr;
  const std::string normal = normalizer(std::string(text));
  const auto take_word = [&](std::string_view word) { encode_word(word, cache, ids); };
  const auto take_piece = [&](std::string_view piece) { model.for_each_word(piece, take_word); };
  for (const auto& piece : added.find(normal, true)) {
    if (piece.id >= 0) {
      ids.push_back(piece.id);
      continue;
    }
    pre_tokenizer.for_each(std::string_view(normal).substr(piece.begin, piece.end - piece.begin), at_start && piece.begin == 0,
                           take_piece);
  }
}

void Tokenizer::Impl::encode_word(std::string_view word, WordCache* cache, std::vector<std::int32_t>& ids) const {
  if (word.size() > WordCache::kMaxWordBytes) cache = nullptr;
  if (cache != nullptr) {
    if (const auto found = cache->find(word); found.data() != nullptr) {
      ids.insert(ids.end(), found.begin(), found.end());
      return;
    }
  }
  const std::size_t before = ids.size();
  model.encode(pre_tokenizer.ends_in_bytes() ? to_byte_level(word) : std::string(word), ids);
  if (cache != nullptr && ids.size() > before) cache->insert(word, std::span(ids).subspan(before));
}

std::vector<std::int32_t> Tokenizer::encode(std::string_view text, bool with_special) const {
  const std::size_t valid = valid_utf8_prefix(text);
  if (valid != text.size()) throw ConfigError("text is not UTF-8: ill-formed byte at offset " + std::to_string(valid));
  std::vector<std::int32_t> ids;
  for (const auto& piece : impl_->added.find(text, false)) {
    if (piece.id >= 0) {
      ids.push_back(piece.id);
    } else {
      impl_->encode_text(text.substr(piece.begin, piece.end - piece.begin), piece.begin == 0, ids);
    }
  }
  return with_special ? impl_->post_processor(std::move(ids)) : ids;
}

std::string Tokenizer::decode(std::span<const std::int32_t> ids, bool skip_special) const {
  std::vector<std::string> tokens;
  tokens.reserve(ids.size());
  for (const std::int32_t id : ids) {
    if (id < 0 || id >= impl_->id_end()) {
      throw ConfigError("token id " + std::to_string(id) + " is out of range: " + impl_->where + " has ids 0 to " +
                        std::to_string(impl_->id_end() - 1));
    }
    if (const AddedToken* added = impl_->added.token_of(id)) {
      // The pattern, not the content: the decoder undoes what the normalizer did.
      if (!(skip_special && added->special)) tokens.push_back(added->pattern);
    } else if (const std::string* token = impl_->model.token_of(id)) {
      tokens.push_back(*token);
    }
  }
  return impl_->decoder(std::move(tokens));
}

std::int64_t Tokenizer::vocabulary_size() const { return impl_->id_end(); }

std::int32_t Tokenizer::id_of(std::string_view token) const {
  if (const AddedToken* added = impl_->added.token_of(token)) return added->id;
  return impl_->model.id_of(token).value_or(-1);
}

}  // namespace troupe
