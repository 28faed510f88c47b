#pragma once

#include <string>

#include "common/chat/value.h"

namespace troupe {

/// Whether Jinja2's filter of that name (with transformers' `tojson`) is supported.
bool is_filter(const std::string& name);
/// value | name(arguments). What Jinja2 gives as a generator is a list. @throws ConfigError for what the filter cannot take.
Value apply_filter(const std::string& name, const Value& value, const CallArguments& arguments, Meter& meter);

}  // namespace troupe
