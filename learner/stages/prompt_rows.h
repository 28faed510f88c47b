#pragma once

#include <string>

#include "common/base/logger.h"
#include "common/config/config.h"
#include "common/data/rows.h"
#include "common/tokenizer/tokenizer.h"
#include "learner/hub/hub.h"

namespace troupe {

/// Refuses the rows whose prompts are longer than data.max_prompt_tokens, or counts them where data.long_prompts is drop,
/// before anything else is done. `key` is the rows' key in the configuration. @throws ConfigError naming file and row.
void check_rows(const DataConfig& data, const std::string& key, const RowSource& rows, const Tokenizer& tokenizer,
                const Logger& logger);

/// Prompts in training order; the place of a row that is dropped is taken by one from an epoch that no run reaches. Borrows
/// its arguments but `data`.
PromptSource training_prompts(const DataConfig& data, const RowSource& rows, const Tokenizer& tokenizer);

/// Prompts in the file's own order, without the rows that are dropped. Borrows its arguments but `data`.
PromptSource held_out_prompts(const DataConfig& data, const RowSource& rows, const Tokenizer& tokenizer);

}  // namespace troupe
