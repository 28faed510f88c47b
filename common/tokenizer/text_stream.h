#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "common/tokenizer/tokenizer.h"

namespace troupe {

/// Text of tokens that come one by one. What is given out is whole UTF-8 characters, and put together it is decode() of all ids
/// with special tokens left out (but for byte tokens that make an earlier one's character ill-formed after it was given out). Ids
/// that the tokenizer does not have are left out too.
class TextStream {
 public:
  /// `tokenizer` must outlive it.
  explicit TextStream(const Tokenizer& tokenizer) : tokenizer_(&tokenizer) {}

  /// The text that is complete with this token; "" where it ends within a character.
  std::string push(std::int32_t id);
  /// What was held back: an unfinished character as U+FFFD. The end of the text.
  std::string finish();

 private:
  std::string take(bool last);

  const Tokenizer* tokenizer_;
  std::vector<std::int32_t> ids_;  // those whose text was given out last, then the pending ones
  std::size_t given_ids_ = 0;
};

}  // namespace troupe
