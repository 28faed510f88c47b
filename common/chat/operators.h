#pragma once

#include <string>

#include "common/chat/value.h"

namespace troupe {

/// Python's a OP b with OP one of + - * / // % **. @throws ConfigError for kinds it is not supported for, a division by zero,
/// and integers beyond 64 bits.
Value arithmetic(const std::string& op, const Value& a, const Value& b, Meter& meter);
/// -a and +a.
Value with_sign(const std::string& sign, const Value& value);
/// a OP b with OP one of == != < <= > >= in, `not in`.
bool compare(const std::string& op, const Value& a, const Value& b, Meter& meter);

/// object[key], undefined where there is none: items, keys, code points, methods.
Value item_of(const Value& object, const Value& key, Meter& meter);
/// object.name: methods first, then keys. @throws ConfigError where `object` is undefined.
Value attribute_of(const Value& object, const std::string& name, Meter& meter);
/// Python's object[first:last:step] of a text or list; a null bound is left out.
Value slice_of(const Value& object, const Value* first, const Value* last, const Value* step, Meter& meter);

}  // namespace troupe
