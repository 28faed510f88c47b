#include "actors/completion_text.h"

#include <vector>

namespace troupe {

std::string completion_text(const Completion& completion, const Tokenizer& tokenizer) {
  std::vector<std::int32_t> ids = completion.token_ids;
  if (completion.finish_reason == FinishReason::kStop) ids.pop_back();
  const std::int64_t known = tokenizer.vocabulary_size();
  std::erase_if(ids, [&](std::int32_t id) { return id >= known; });
  return tokenizer.decode(ids, true);
}

}  // namespace troupe
