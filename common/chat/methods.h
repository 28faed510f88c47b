#pragma once

#include <string>

#include "common/chat/value.h"

namespace troupe {

/// Whether `object` is of a type with such a method. Methods that change their object have an error of their own when called.
bool has_method(const Value& object, const std::string& name);
/// object.name(arguments). @throws ConfigError for arguments of a wrong kind or number.
Value call_method(const Value& object, const std::string& name, const CallArguments& arguments, Meter& meter);

}  // namespace troupe
