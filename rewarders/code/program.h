#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace troupe {

enum class Language { kPython, kCpp };

/// The language of "python", "py", "python3", "cpp", "c++", "cc" or "cxx", in any case; nothing for another word.
std::optional<Language> language_named(std::string_view word);

struct Program {
  std::string text;
  std::optional<Language> language;  // as the fence says
};

/// The last fenced block of a completion ("```python" … "```", both at the beginning of a line), one that is not closed included;
/// without any, the whole completion. Nothing where that is white space.
std::optional<Program> program_of(std::string_view completion);

/// The Python program that HumanEval's `prompt` and a completion make: appended to the prompt where the completion does not define
/// `entry_point`, else behind the prompt's lines of imports.
std::string completed_prompt(const std::string& prompt, const std::string& program, const std::string& entry_point);

}  // namespace troupe
