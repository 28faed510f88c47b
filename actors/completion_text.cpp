#include "actors/completion_text.h"

#include <algorithm>
#include <vector>

#include "actors/stop_texts.h"

namespace troupe {

std::string completion_text(const Completion& completion, const SamplingParams& sampling, const Tokenizer& tokenizer) {
  std::vector<std::int32_t> ids = completion.token_ids;
  const bool stopped = completion.finish_reason == FinishReason::kStop && !ids.empty();
  if (stopped && std::ranges::find(sampling.stop_ids, ids.back()) != sampling.stop_ids.end()) ids.pop_back();
  const std::int64_t known = tokenizer.vocabulary_size();
  std::erase_if(ids, [&](std::int32_t id) { return id >= known; });
  std::string text = tokenizer.decode(ids, true);
  if (stopped) text.resize(find_stop_text(text, sampling.stop_texts));
  return text;
}

}  // namespace troupe
