#pragma once

#include <string>

#include "common/chat/value.h"

namespace troupe {

/// Whether Jinja2's test of that name is supported.
bool is_test(const std::string& name);
/// value is name(arguments). @throws ConfigError for what the test cannot take.
bool apply_test(const std::string& name, const Value& value, const CallArguments& arguments, Meter& meter);

}  // namespace troupe
