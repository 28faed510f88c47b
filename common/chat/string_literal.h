#pragma once

#include <string>
#include <string_view>

namespace troupe {

/// The value of a string literal's inside: Python's escapes; an unknown one stays as it is. @throws ConfigError for a \x, \u
/// or \U without its digits, one that is no character, and for \N.
std::string string_literal_value(std::string_view inside);

}  // namespace troupe
