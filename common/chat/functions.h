#pragma once

#include <string>

#include "common/chat/value.h"

namespace troupe {

/// range, dict and raise_exception, and strftime_now where the date is known: what templates can call besides methods.
bool is_function(const std::string& name, const std::string& date);
/// name(arguments); `date` as YYYY-MM-DD. @throws ConfigError for wrong arguments, and what raise_exception is told.
Value call_function(const std::string& name, const CallArguments& arguments, const std::string& date, Meter& meter);

/// @throws ConfigError unless `date` is empty or a day written as YYYY-MM-DD.
void check_date(const std::string& date);

}  // namespace troupe
