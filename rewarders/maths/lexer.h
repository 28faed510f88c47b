#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "rewarders/maths/vocabulary.h"

namespace troupe {

struct MathToken {
  MathTokenType type = MathTokenType::kEnd;
  std::string text;
  bool after_space = false;

  bool is(MathTokenType wanted, std::string_view what) const { return type == wanted && text == what; }
};

/// The tokens of an answer, written in LaTeX or plainly; the last is kEnd. Spacing, $ and currency signs leave none; commas and
/// spaces between groups of three digits are part of the number (in brackets only where other commas are followed by
/// spaces); words of four letters or more are text unless they name a function, shorter ones letters; the full stop at
/// the end is dropped. What is not understood becomes kBad. `decimal_comma` reads 1,5 as 1.5.
std::vector<MathToken> math_tokens(std::string_view text, bool decimal_comma = false);

}  // namespace troupe
