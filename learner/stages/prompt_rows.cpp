#include "learner/stages/prompt_rows.h"

#include "common/base/error.h"

namespace troupe {
namespace {

constexpr int kReplacementTries = 1000;
constexpr int kReplacementShift = 40;  // numbers that no run reaches

std::vector<std::int32_t> prompt_ids_of(const DataConfig& data, const Tokenizer& tokenizer, const Row& row) {
  return tokenizer.encode(apply_prompt_template(data.prompt, question_of(row, data.question_key)), true);
}

bool fits(const DataConfig& data, const Tokenizer& tokenizer, const Row& row) {
  return static_cast<std::int64_t>(prompt_ids_of(data, tokenizer, row).size()) <= data.max_prompt_tokens;
}

}  // namespace

void check_rows(const DataConfig& data, const std::string& key, const RowSource& rows, const Tokenizer& tokenizer,
                const Logger& logger) {
  std::uint64_t too_long = 0;
  for (std::uint64_t i = 0; i < rows.size(); ++i) {
    const Row row = rows.in_order(i);
    if (fits(data, tokenizer, row)) continue;
    if (data.long_prompts == "refuse") {
      throw ConfigError(row.where + ": the prompt has " + std::to_string(prompt_ids_of(data, tokenizer, row).size()) +
                        " tokens, data.max_prompt_tokens allows " + std::to_string(data.max_prompt_tokens) +
                        "; raise it, or set data.long_prompts = drop");
    }
    ++too_long;
  }
  if (too_long == rows.size()) throw ConfigError(key + ": every row's prompt is longer than data.max_prompt_tokens");
  if (too_long > 0) {
    logger.warning(key + ": " + std::to_string(too_long) + " of " + std::to_string(rows.size()) +
                   " rows are dropped: their prompts are longer than data.max_prompt_tokens");
  }
}

PromptSource training_prompts(const DataConfig& data, const RowSource& rows, const Tokenizer& tokenizer) {
  PromptSource source;
  source.row = [&rows, &tokenizer, data](std::uint64_t number) {
    for (std::uint64_t i = 0; i < kReplacementTries; ++i) {
      Row row = rows.at(number + (i << kReplacementShift));
      if (data.long_prompts == "refuse" || fits(data, tokenizer, row)) return row;
    }
    throw ConfigError("data.train: hardly any row's prompt is within data.max_prompt_tokens");
  };
  source.prompt_ids = [&tokenizer, data](const Row& row) { return prompt_ids_of(data, tokenizer, row); };
  return source;
}

PromptSource held_out_prompts(const DataConfig& data, const RowSource& rows, const Tokenizer& tokenizer) {
  std::vector<std::uint64_t> kept;
  for (std::uint64_t i = 0; i < rows.size(); ++i) {
    if (fits(data, tokenizer, rows.in_order(i))) kept.push_back(i);
  }
  PromptSource source;
  source.row = [&rows, kept](std::uint64_t number) { return rows.in_order(kept.at(number)); };
  source.prompt_ids = [&tokenizer, data](const Row& row) { return prompt_ids_of(data, tokenizer, row); };
  return source;
}

}  // namespace troupe
