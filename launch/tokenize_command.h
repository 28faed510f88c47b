#pragma once

#include <filesystem>

namespace troupe {

/// `troupe tokenize`: rows {"text"} or {"ids"} of `in` become rows {"ids", "text"} of `out`, `text` being all ids
/// decoded, special tokens kept; none are added. Needs only the tokenizer's files in `model_folder`. Returns the exit
/// code.
/// @throws ConfigError naming file and row.
int run_tokenize(const std::filesystem::path& model_folder, const std::filesystem::path& in,
                 const std::filesystem::path& out);

}  // namespace troupe
