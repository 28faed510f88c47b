#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace troupe {

/// A piece of a chat template: text between tags, or a piece of a tag.
struct TemplateToken {
  enum class Kind { kText, kPrintBegin, kPrintEnd, kBlockBegin, kBlockEnd, kName, kString, kInteger, kFloat, kOperator, kEnd };
  Kind kind = Kind::kEnd;
  std::string text;  // of a string: its value
  int line = 1;
};

/// The tokens of Jinja2's lexer with trim_blocks and lstrip_blocks on and keep_trailing_newline off, as transformers sets them:
/// ends of line become \n, one at the very end is dropped, comments are gone, raw blocks are text. The last one is kEnd.
/// @throws ConfigError starting with "`where`:LINE: ".
std::vector<TemplateToken> lex_template(std::string_view source, const std::string& where);

}  // namespace troupe
