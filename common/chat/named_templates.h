#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace troupe {

/// A prompt that needs no file.
struct NamedTemplate {
  std::string_view name;
  std::string text;  // Jinja, with the assistant's turns in {% generation %} blocks
  bool holds_special_tokens;
};

/// plain: what is said, one message a line. r1_zero: Table 1 of DeepSeek-R1 (arXiv 2501.12948). chatml: Qwen's and others'
/// <|im_start|>. llama3: Llama 3's headers. r1: DeepSeek-R1's turns; the answer begins with <think>, and of earlier answers the
/// thoughts are left out.
const std::vector<NamedTemplate>& named_templates();

}  // namespace troupe
