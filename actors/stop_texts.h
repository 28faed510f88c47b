#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "common/tokenizer/text_stream.h"

namespace troupe {

/// Where the first of `texts` begins in `text`, of those that end behind its first `settled` bytes; text.size() where there is none.
std::size_t find_stop_text(std::string_view text, const std::vector<std::string>& texts, std::size_t settled = 0);

/// Watches one completion's text for the texts that end it.
class StopTexts {
 public:
  /// Both outlive it.
  StopTexts(const std::vector<std::string>& texts, const Tokenizer& tokenizer);

  /// Whether one of the texts is complete with this token.
  bool push(std::int32_t id);

 private:
  const std::vector<std::string>* texts_;
  TextStream stream_;
  std::size_t longest_ = 0;
  std::string tail_;  // of the text so far, as long as may become a part of a match
};

}  // namespace troupe
