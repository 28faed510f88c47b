#pragma once

#include <cstdint>
#include <optional>

#include "common/data/rows.h"
#include "common/messages/messages.h"

namespace troupe {

/// `sampling` with what the row has of its own: `temperature`, `top_p`, `top_k`, `min_p`, `max_tokens`, `min_tokens` and `stop` (a text or a
/// list of them, in place of all others). @throws ConfigError naming row and key where a value is of another kind; its range is the
/// engine's to check.
SamplingParams row_sampling(const Row& row, SamplingParams sampling);

/// The row's `seed`; nothing where it has none. @throws ConfigError.
std::optional<std::uint64_t> row_seed(const Row& row);

}  // namespace troupe
