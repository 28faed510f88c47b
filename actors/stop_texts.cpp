#include "actors/stop_texts.h"

#include <algorithm>

namespace troupe {

std::size_t find_stop_text(std::string_view text, const std::vector<std::string>& texts, std::size_t settled) {
  std::size_t first = text.size();
  for (const std::string& each : texts) {
    const std::size_t from = settled < each.size() ? 0 : settled - each.size() + 1;
    first = std::min(first, text.find(each, from));
  }
  return first;
}

StopTexts::StopTexts(const std::vector<std::string>& texts, const Tokenizer& tokenizer) : texts_(&texts), stream_(tokenizer) {
  for (const std::string& text : texts) longest_ = std::max(longest_, text.size());
}

bool StopTexts::push(std::int32_t id) {
  const std::size_t settled = tail_.size();
  tail_ += stream_.push(id);
  const bool found = find_stop_text(tail_, *texts_, settled) < tail_.size();
  if (tail_.size() >= longest_) tail_.erase(0, tail_.size() - longest_ + 1);
  return found;
}

}  // namespace troupe
