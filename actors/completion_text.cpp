#include "actors/completion_text.h"

#include <algorithm>
#include <vector>

#include "actors/stop_texts.h"
#include "common/tokenizer/text_stream.h"

namespace troupe {

std::string completion_text(const Completion& completion, const SamplingParams& sampling, const Tokenizer& tokenizer) {
  std::vector<std::int32_t> ids = completion.token_ids;
  const bool stopped = completion.finish_reason == FinishReason::kStop && !ids.empty();
  if (stopped && std::ranges::find(sampling.stop_ids, ids.back()) != sampling.stop_ids.end()) ids.pop_back();
  const std::int64_t known = tokenizer.vocabulary_size();
  std::erase_if(ids, [&](std::int32_t id) { return id >= known; });
  std::string text = tokenizer.decode(ids, true);
  if (!stopped || sampling.stop_texts.empty()) return text;
  TextStream stream(tokenizer);  // of the tokens before which no stop text counts
  std::size_t settled = 0;
  const std::size_t least = std::min(static_cast<std::size_t>(std::max(sampling.min_tokens, 0)), ids.size());
  for (std::size_t i = 0; i < least; ++i) settled += stream.push(ids[i]).size();
  text.resize(find_stop_text(text, sampling.stop_texts, settled));
  return text;
}

}  // namespace troupe
