#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace troupe {

/// Where a final answer may stand, by the names that a configuration uses.
///   tag     between the last <answer> and </answer>
///   boxed   in the last \boxed{} or \fbox{}; several close together are one list ("\boxed{1} and \boxed{2}"). Where
///           "final answer is" comes after it, that counts
///   hash    behind the last "####", to the end of the line
///   phrase  behind the last "final answer is" or "answer is", or these with a colon
///   latex   in the last formula between $, $$, \( or \[; several joined by commas or "and" are one list
///   number  the last number or arithmetic expression of running text
///   last    all of a short text that is mathematics; else what latex or number find, whichever stands later
const std::vector<std::string>& answer_sources();

/// Where mathematics looks, unless told otherwise: tag, boxed, hash, phrase, last.
const std::vector<std::string>& usual_answer_sources();

/// The text between the last complete `<tag>` … `</tag>`, trimmed. Nothing where there is none.
std::optional<std::string> last_tagged(std::string_view text, std::string_view tag);

/// What the last \boxed{} or \fbox{} holds, trimmed, as above. Nothing where there is none or it is not closed.
std::optional<std::string> boxed_answer(std::string_view text);

/// The final answer of a completion, from the first of `sources` that has one. Where a letter was to be chosen (`choice`), phrase and
/// last look for one first (choices.h). Linear in the completion's length.
std::optional<std::string> final_answer(std::string_view completion, const std::vector<std::string>& sources, bool choice = false);

/// A gold answer without the solution around it: its last box, closed or not, where it has one; else what "final answer is" says;
/// else all of it.
std::string gold_answer(std::string_view gold);

}  // namespace troupe
