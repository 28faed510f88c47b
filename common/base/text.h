#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace troupe {

/// The text without ASCII white space at both ends; a view into `text`.
std::string_view trim(std::string_view text);

/// The parts between `separator`s, empty ones included; views into `text`. "" gives one empty part.
std::vector<std::string_view> split(std::string_view text, char separator);

/// `text` as an error quotes it: its first 200 bytes at most, cut between characters, and a mark where there is more.
std::string beginning_of(std::string_view text);

std::string join(const std::vector<std::string>& parts, std::string_view separator);

/// Levenshtein distance in bytes.
std::size_t edit_distance(std::string_view a, std::string_view b);

/// The candidate with the smallest edit distance to `word`, the first on ties; nothing where there is none.
std::optional<std::string> nearest(std::string_view word, const std::vector<std::string>& candidates);

/// The whole text as a finite decimal number; nothing where it is anything else ("", "1x", "nan", "inf", "1e999").
std::optional<double> parse_double(std::string_view text);

/// The shortest text that parses back to the same bits ("0.1", "1e-06"); "nan", "inf", "-inf" where not finite.
std::string shortest(double value);

}  // namespace troupe
