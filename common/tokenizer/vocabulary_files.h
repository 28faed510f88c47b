#pragma once

#include <filesystem>
#include <string>

namespace troupe {

/// The text of `folder`/tokenizer.json; where there is none, the tokenizer.json that vocab.json and merges.txt (GPT-2's and Qwen's
/// older form) amount to, with the added tokens of tokenizer_config.json or added_tokens.json. The class that tokenizer_config.json or
/// config.json names says how text is cut. @throws ConfigError naming the file that is missing or wrong, and the key.
std::string tokenizer_json_of(const std::filesystem::path& folder);

/// Which file that comes from, for errors.
std::filesystem::path tokenizer_file_of(const std::filesystem::path& folder);

}  // namespace troupe
