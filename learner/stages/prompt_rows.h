#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "common/base/logger.h"
#include "common/data/rows.h"
#include "learner/hub/hub.h"
#include "learner/stages/prompt_writer.h"

namespace troupe {

/// Refuses the rows whose prompts are longer than data.max_prompt_tokens, or counts them where data.long_prompts is drop,
/// before anything else is done. `key` is the rows' key in the configuration. @throws ConfigError naming file and row.
void check_rows(const PromptWriter& prompts, const std::string& key, const RowSource& rows, const Logger& logger);

/// The row with this number in training order; the place of one that is not kept is taken by one from an epoch that no run
/// reaches. @throws ConfigError where hardly any is kept.
Row kept_row(const RowSource& rows, std::uint64_t number, const std::function<bool(const Row&)>& keeps);

/// Prompts in training order; the place of a row that is dropped is taken as kept_row says. Borrows its arguments.
PromptSource training_prompts(const PromptWriter& prompts, const RowSource& rows);

/// Prompts in the file's own order, without the rows that are dropped. Borrows its arguments.
PromptSource held_out_prompts(const PromptWriter& prompts, const RowSource& rows);

}  // namespace troupe
