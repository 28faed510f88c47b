#include "rewarders/code/program.h"

#include <algorithm>
#include <cctype>
#include <vector>

#include "common/base/text.h"

namespace troupe {
namespace {

constexpr std::string_view kFence = "```";

bool starts_with_word(std::string_view line, std::string_view word) {
  if (!line.starts_with(word)) return false;
  const std::string_view rest = line.substr(word.size());
  return rest.empty() || (std::isalnum(static_cast<unsigned char>(rest[0])) == 0 && rest[0] != '_');
}

/// Whether a line at the outermost level defines `name`.
bool defines(std::string_view program, std::string_view name) {
  for (std::string_view line : split(program, '\n')) {
    for (const std::string_view keyword : {"async ", "def ", "class "}) {
      if (line.starts_with(keyword)) line = line.substr(keyword.size());
    }
    if (!starts_with_word(line, name)) continue;
    const std::string_view rest = trim(line.substr(name.size()));
    if (rest.starts_with("(") || rest.starts_with(":") || (rest.starts_with("=") && !rest.starts_with("=="))) return true;
  }
  return false;
}

}  // namespace

std::optional<Language> language_named(std::string_view word) {
  std::string lower(trim(word));
  std::transform(lower.begin(), lower.end(), lower.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  for (const char* name : {"python", "py", "python3"}) {
    if (lower == name) return Language::kPython;
  }
  for (const char* name : {"cpp", "c++", "cc", "cxx"}) {
    if (lower == name) return Language::kCpp;
  }
  return std::nullopt;
}

std::optional<Program> program_of(std::string_view completion) {
  Program last{std::string(completion), std::nullopt};
  std::optional<Program> open;
  for (const std::string_view line : split(completion, '\n')) {
    if (!line.starts_with(kFence)) {
      if (open) open->text += std::string(line) + "\n";
    } else if (open) {
      last = *open;
      open.reset();
    } else {
      open = Program{"", language_named(line.substr(kFence.size()))};
    }
  }
  if (open && !trim(open->text).empty()) last = *open;
  if (trim(last.text).empty()) return std::nullopt;
  return last;
}

std::string completed_prompt(const std::string& prompt, const std::string& program, const std::string& entry_point) {
  if (!defines(program, entry_point)) return prompt + program;
  if (program.find("from __future__") != std::string::npos) return program;  // must come first
  std::string imports;
  for (const std::string_view line : split(prompt, '\n')) {
    if (line.starts_with("import ") || line.starts_with("from ")) imports += std::string(line) + "\n";
  }
  return imports + program;
}

}  // namespace troupe
