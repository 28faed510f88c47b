#include "common/tokenizer/text_stream.h"

#include <span>
#include <string_view>

namespace troupe {

std::string TextStream::push(std::int32_t id) {
  if (id < 0 || id >= tokenizer_->vocabulary_size()) return "";
  ids_.push_back(id);
  return take(false);
}

std::string TextStream::finish() {
  std::string text = take(true);
  ids_.clear();
  given_ids_ = 0;
  return text;
}

/// A token's text may depend on what comes before it (a space that only the first one loses), so the tokens given out last are
/// decoded again with those that are new.
std::string TextStream::take(bool last) {
  constexpr std::string_view kUnfinished = "\xEF\xBF\xBD";  // U+FFFD
  const std::string given = tokenizer_->decode(std::span(ids_).first(given_ids_), true);
  const std::string all = tokenizer_->decode(ids_, true);
  if (all == given || (!last && all.ends_with(kUnfinished))) return "";
  // A byte that spoils its neighbours may change what was given out: then the new tokens speak for themselves.
  std::string fresh = all.starts_with(given) ? all.substr(given.size()) : tokenizer_->decode(std::span(ids_).subspan(given_ids_), true);
  ids_.erase(ids_.begin(), ids_.begin() + static_cast<std::ptrdiff_t>(given_ids_));
  given_ids_ = ids_.size();
  return fresh;
}

}  // namespace troupe
