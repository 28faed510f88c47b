#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "rewarders/maths/vocabulary.h"

namespace troupe {

/// What a comma between two digits is.
enum class MathCommas {
  kGroup,  // of 1,234 a part of the number, else between two elements
  kPoint,  // 1,5 is 1.5
  kList,   // always between two elements
};

struct MathToken {
  MathTokenType type = MathTokenType::kEnd;
  std::string text;
  bool after_space = false;

  bool is(MathTokenType wanted, std::string_view what) const { return type == wanted && text == what; }
};

/// The tokens of an answer, written in LaTeX or plainly; the last is kEnd. Spacing, $ and currency signs leave none; commas and
/// spaces between groups of three digits are part of the number (in brackets only where other commas are followed by
/// spaces); words of four letters or more are text unless they name a function, shorter ones letters; the full stop at
/// the end is dropped. What is not understood becomes kBad.
std::vector<MathToken> math_tokens(std::string_view text, MathCommas commas = MathCommas::kGroup);

}  // namespace troupe
