#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace troupe {

/// Text to token ids and back, as the `tokenizer.json` of a Hugging Face directory says; the ids are those of Hugging
/// Face's `tokenizers`. Constructs that are not supported are refused at loading. Immutable after loading: any thread.
class Tokenizer {
 public:
  /// Reads `folder`/tokenizer.json, or vocab.json and merges.txt where that is not there. @throws ConfigError naming the file and the construct that is not supported or
  /// wrong.
  static Tokenizer load(const std::filesystem::path& folder);
  /// From the text of a tokenizer.json (`where` names it in errors).
  static Tokenizer from_json(std::string_view json, const std::string& where);

  Tokenizer(Tokenizer&&) noexcept;
  Tokenizer& operator=(Tokenizer&&) noexcept;
  ~Tokenizer();

  /// Ids of UTF-8 `text`. Special tokens written in the text are recognised. `with_special` adds what the
  /// post-processor adds (BOS). @throws ConfigError where `text` is not UTF-8.
  std::vector<std::int32_t> encode(std::string_view text, bool with_special) const;

  /// Text of `ids`. `skip_special` leaves out special tokens, those with `normalized` too (tokenizers 0.23 writes
  /// these). Bytes that are not UTF-8 become U+FFFD, as in transformers; an id between others that no token has is
  /// empty text.
  /// @throws ConfigError naming an id out of range.
  std::string decode(std::span<const std::int32_t> ids, bool skip_special) const;

  /// One past the highest id, added tokens included.
  std::int64_t vocabulary_size() const;
  /// The id of an exact token, or -1.
  std::int32_t id_of(std::string_view token) const;

 private:
  struct Impl;
  explicit Tokenizer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

/// The text of a tokenizer.json with one token for each printable ASCII character and newline, `<|end|>` (special; the
/// end of a text, id 0), `<unk>` (special; any other character) and the four tags `<think>`, `</think>`, `<answer>`,
/// `</answer>` as tokens of their own. Loads in Hugging Face tokenizers. For models that start from random weights.
std::string character_tokenizer_json();

}  // namespace troupe
