#include "learner/stages/prompt_rows.h"

#include "common/base/error.h"

namespace troupe {
namespace {

constexpr int kReplacementTries = 1000;
constexpr int kReplacementShift = 40;  // numbers that no run reaches

bool fits(const PromptWriter& prompts, const Row& row) {
  return static_cast<std::int64_t>(prompts.prompt_ids(row).size()) <= prompts.data().max_prompt_tokens;
}

}  // namespace

void check_rows(const PromptWriter& prompts, const std::string& key, const RowSource& rows, const Logger& logger) {
  const DataConfig& data = prompts.data();
  std::uint64_t too_long = 0;
  for (std::uint64_t i = 0; i < rows.size(); ++i) {
    const Row row = rows.in_order(i);
    if (fits(prompts, row)) continue;
    if (data.long_prompts == "refuse") {
      throw ConfigError(row.where + ": the prompt has " + std::to_string(prompts.prompt_ids(row).size()) +
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

Row kept_row(const RowSource& rows, std::uint64_t number, const std::function<bool(const Row&)>& keeps) {
  for (std::uint64_t i = 0; i < kReplacementTries; ++i) {
    Row row = rows.at(number + (i << kReplacementShift));
    if (keeps(row)) return row;
  }
  throw ConfigError("data.train: hardly any row is within data.max_prompt_tokens and the model's positions");
}

PromptSource training_prompts(const PromptWriter& prompts, const RowSource& rows) {
  PromptSource source;
  source.row = [&rows, &prompts](std::uint64_t number) {
    return kept_row(rows, number, [&](const Row& row) { return prompts.data().long_prompts == "refuse" || fits(prompts, row); });
  };
  source.prompt_ids = [&prompts](const Row& row) { return prompts.prompt_ids(row); };
  return source;
}

PromptSource held_out_prompts(const PromptWriter& prompts, const RowSource& rows) {
  std::vector<std::uint64_t> kept;
  for (std::uint64_t i = 0; i < rows.size(); ++i) {
    if (fits(prompts, rows.in_order(i))) kept.push_back(i);
  }
  PromptSource source;
  source.row = [&rows, kept](std::uint64_t number) { return rows.in_order(kept.at(number)); };
  source.prompt_ids = [&prompts](const Row& row) { return prompts.prompt_ids(row); };
  return source;
}

}  // namespace troupe
