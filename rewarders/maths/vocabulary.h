#pragma once

#include <optional>
#include <string_view>

#include "rewarders/maths/exact.h"

namespace troupe {

enum class MathTokenType {
  kNumber,    // text: digits as decimal_value reads them
  kSymbol,    // text: its name
  kConstant,  // text: pi, e, i, inf
  kText,      // text: words as written
  kFunction,  // text: sin, log …
  kOperator,  // text: + - * / : ^ _ ! % ' | & \\ and the words below
  kOpen,      // text: ( [ { \{ < lfloor lceil
  kClose,     // text: ) ] } \} > rfloor rceil
  kCommand,   // text: frac, sqrt, binom, begin, end, overline and their like: what takes braces
  kIgnored,   // leaves no token
  kBad,       // nothing that we know
  kEnd,
};

struct MathWord {
  MathTokenType type = MathTokenType::kBad;
  std::string_view text;
};

/// What the LaTeX command \name means, or nothing for an unknown one.
std::optional<MathWord> math_command(std::string_view name);

/// What a word or symbol outside LaTeX means ("sin", "and", "percent", "≤"); nothing for an unknown one.
std::optional<MathWord> math_word(std::string_view word);

/// The symbol of more than one byte at the front of `text` ("π", "−", "²") with its length in bytes.
struct MathGlyph {
  MathWord word;
  std::size_t bytes;
};
std::optional<MathGlyph> math_glyph(std::string_view text);

/// Whether the arguments of this function are angles.
bool is_trigonometric(std::string_view function);
/// sinh, cosh and their like.
bool is_hyperbolic(std::string_view function);

/// A known unit of measure: what it measures and how much of the base unit it is.
struct MathUnit {
  std::string_view dimension;
  Rational factor;
};
std::optional<MathUnit> math_unit(std::string_view name);

}  // namespace troupe
