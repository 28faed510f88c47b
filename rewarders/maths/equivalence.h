#pragma once

#include <string_view>

namespace troupe {

struct EquivalenceOptions {
  /// A list without brackets must come in the gold's order.
  bool ordered_lists = false;
};

/// Whether `given` is the same answer as `gold`; both as written, in LaTeX or plainly, without the text around them. Reproducible,
/// and bounded: over 4,096 bytes, too deep or too dear to decide is "not the same", as is what has no value (1/0).
///
/// Exact where both are exact; see same_scalar for decimals and identities. What a number is written with (unit, %, currency)
/// may be missing on either side, but known units that are there must agree. docs/maths.md lists the rules by kind
/// of answer. It is not symmetric: only the gold may be an inequality that is answered by a set, so that copying the
/// question's condition earns nothing.
bool same_answer(std::string_view given, std::string_view gold, const EquivalenceOptions& options = {});

}  // namespace troupe
