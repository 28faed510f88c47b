#include "common/chat/operators.h"

#include <algorithm>
#include <cmath>

#include "common/base/error.h"
#include "common/base/utf8.h"
#include "common/chat/methods.h"
#include "common/chat/python_text.h"

namespace troupe {
namespace {

constexpr std::size_t kItemCost = 8;

[[noreturn]] void refuse(const std::string& op, const Value& a, const Value& b) {
  throw ConfigError("operator " + op + " is not supported between " + description_of(a) + " and " + description_of(b));
}

/// By reference: the operation that says whether it overflowed may write `value` after it was named.
std::int64_t in_range(bool overflow, const std::int64_t& value) {
  if (overflow) throw ConfigError("an integer is beyond 64 bits");
  return value;
}

std::int64_t power(std::int64_t base, std::int64_t exponent) {
  std::int64_t result = 1;
  bool overflow = false;
  while (exponent > 0 && !overflow) {
    if (exponent % 2 == 1) overflow = __builtin_mul_overflow(result, base, &result);
    exponent /= 2;
    if (exponent > 0 && !overflow) overflow = __builtin_mul_overflow(base, base, &base);
  }
  return in_range(overflow, result);
}

std::int64_t floor_quotient(std::int64_t a, std::int64_t b) {
  in_range(b == -1 && a == INT64_MIN, 0);
  return a / b - (a % b != 0 && (a % b < 0) != (b < 0) ? 1 : 0);
}

/// Python's a % b, which has b's sign.
std::int64_t floor_remainder(std::int64_t a, std::int64_t b) {
  if (b == -1) return 0;
  const std::int64_t remainder = a % b;
  return remainder != 0 && (remainder < 0) != (b < 0) ? remainder + b : remainder;
}

Value of_integers(const std::string& op, std::int64_t a, std::int64_t b) {
  std::int64_t result = 0;
  if (op == "+") return in_range(__builtin_add_overflow(a, b, &result), result);
  if (op == "-") return in_range(__builtin_sub_overflow(a, b, &result), result);
  if (op == "*") return in_range(__builtin_mul_overflow(a, b, &result), result);
  if (op == "//") return floor_quotient(a, b);
  if (op == "%") return floor_remainder(a, b);
  return power(a, b);
}

Value of_floats(const std::string& op, double a, double b) {
  if (op == "+") return a + b;
  if (op == "-") return a - b;
  if (op == "*") return a * b;
  if (op == "/") return a / b;
  if (op == "**") return std::pow(a, b);
  double remainder = std::fmod(a, b);
  if (remainder != 0 && (remainder < 0) != (b < 0)) remainder += b;
  if (remainder == 0) remainder = std::copysign(0.0, b);
  if (op == "%") return remainder;
  const double quotient = std::floor((a - remainder) / b);
  return (a - remainder) / b - quotient > 0.5 ? quotient + 1 : quotient;
}

Value of_numbers(const std::string& op, const Value& a, const Value& b) {
  const bool divides = op == "/" || op == "//" || op == "%";
  if (divides && number_of(b) == 0) throw ConfigError("division by zero: operator " + op);
  std::int64_t room_a = 0;
  std::int64_t room_b = 0;
  const std::int64_t* const x = integer_of(a, room_a);
  const std::int64_t* const y = integer_of(b, room_b);
  const bool makes_float = op == "/" || (op == "**" && y != nullptr && *y < 0);
  if (x != nullptr && y != nullptr && !makes_float) return of_integers(op, *x, *y);
  const double base = number_of(a);
  const double exponent = number_of(b);
  if (op == "**" && ((base == 0 && exponent < 0) || (base < 0 && exponent != std::floor(exponent)))) refuse(op, a, b);
  return of_floats(op, base, exponent);
}

/// A text or list, `times` times over.
Value repeated(const Value& value, std::int64_t times, Meter& meter) {
  const auto count = static_cast<std::size_t>(std::max<std::int64_t>(times, 0));
  if (const std::string* text = value.text()) {
    MeteredText result(meter);
    for (std::size_t i = 0; i < count && !text->empty(); ++i) result << *text;
    return result.take();
  }
  std::vector<Value> items;
  for (std::size_t i = 0; i < count && !value.list()->items.empty(); ++i) {
    meter.spend(kItemCost * value.list()->items.size());
    items.insert(items.end(), value.list()->items.begin(), value.list()->items.end());
  }
  return Value::list(std::move(items), value.list()->is_tuple);
}

Value joined(const ValueList& a, const ValueList& b, Meter& meter) {
  meter.spend(kItemCost * (a.items.size() + b.items.size()));
  std::vector<Value> items = a.items;
  items.insert(items.end(), b.items.begin(), b.items.end());
  return Value::list(std::move(items), a.is_tuple);
}

Value list_item(const std::vector<Value>& items, std::int64_t index) {
  const auto size = static_cast<std::int64_t>(items.size());
  const std::int64_t at = index < 0 ? index + size : index;
  if (at < 0 || at >= size) return Value::undefined("the list has no item " + std::to_string(index));
  return items[static_cast<std::size_t>(at)];
}

Value text_item(const std::string& text, std::int64_t index) {
  const auto size = static_cast<std::int64_t>(python_text::length(text));
  const std::int64_t at = index < 0 ? index + size : index;
  if (at < 0 || at >= size) return Value::undefined("the string has no character " + std::to_string(index));
  const std::size_t begin = python_text::byte_of(text, static_cast<std::size_t>(at));
  return text.substr(begin, python_text::byte_of(std::string_view(text).substr(begin), 1));
}

/// The places that a slice of `size` items takes, in order.
std::vector<std::size_t> slice_places(std::int64_t size, const Value* first, const Value* last, const Value* step_value) {
  const auto bound = [](const Value* value, std::int64_t otherwise) {
    if (value == nullptr || value->is_none()) return otherwise;
    std::int64_t room = 0;
    const std::int64_t* integer = integer_of(*value, room);
    if (integer == nullptr) throw ConfigError("a slice: expected integers, found " + description_of(*value));
    return *integer;
  };
  const std::int64_t step = bound(step_value, 1);
  if (step == 0) throw ConfigError("a slice: the step is zero");
  const auto clipped = [&](std::int64_t at) {
    if (at < 0) at += size;
    return std::clamp<std::int64_t>(at, step < 0 ? -1 : 0, step < 0 ? size - 1 : size);
  };
  const bool has_first = first != nullptr && !first->is_none();
  const bool has_last = last != nullptr && !last->is_none();
  const std::int64_t begin = has_first ? clipped(bound(first, 0)) : step < 0 ? size - 1 : 0;
  const std::int64_t end = has_last ? clipped(bound(last, 0)) : step < 0 ? -1 : size;
  std::vector<std::size_t> places;
  const std::int64_t stride = std::clamp<std::int64_t>(step, -size - 1, size + 1);
  for (std::int64_t i = begin; stride < 0 ? i > end : i < end; i += stride) places.push_back(static_cast<std::size_t>(i));
  return places;
}

}  // namespace

Value arithmetic(const std::string& op, const Value& a, const Value& b, Meter& meter) {
  if (a.is_number() && b.is_number()) return of_numbers(op, a, b);
  if (op == "+" && a.text() != nullptr && b.text() != nullptr) {
    meter.spend(a.text()->size() + b.text()->size());
    return *a.text() + *b.text();
  }
  if (op == "+" && a.list() != nullptr && b.list() != nullptr && a.list()->is_tuple == b.list()->is_tuple) return joined(*a.list(), *b.list(), meter);
  if (op == "*") {
    std::int64_t room = 0;
    const bool many_a = a.text() != nullptr || a.list() != nullptr;
    const bool many_b = b.text() != nullptr || b.list() != nullptr;
    if (const std::int64_t* times = integer_of(b, room); times != nullptr && many_a) return repeated(a, *times, meter);
    if (const std::int64_t* times = integer_of(a, room); times != nullptr && many_b) return repeated(b, *times, meter);
  }
  refuse(op, a, b);
}

Value with_sign(const std::string& sign, const Value& value) {
  std::int64_t room = 0;
  if (const std::int64_t* integer = integer_of(value, room)) return sign == "-" ? of_integers("-", 0, *integer) : Value(*integer);
  const double number = number_of(value);
  return sign == "-" ? -number : number;
}

bool compare(const std::string& op, const Value& a, const Value& b, Meter& meter) {
  if (op == "==") return equal(a, b, meter);
  if (op == "!=") return !equal(a, b, meter);
  if (op == "in") return contains(b, a, meter);
  if (op == "not in") return !contains(b, a, meter);
  if (op == "<") return less(a, b, meter);
  if (op == ">") return less(b, a, meter);
  const bool is_nan = (a.as<double>() != nullptr && std::isnan(*a.as<double>())) || (b.as<double>() != nullptr && std::isnan(*b.as<double>()));
  return !(op == "<=" ? less(b, a, meter) : less(a, b, meter)) && !is_nan;
}

Value item_of(const Value& object, const Value& key, Meter& meter) {
  std::int64_t room = 0;
  const std::int64_t* index = integer_of(key, room);
  if (object.is_undefined()) throw ConfigError(description_of(object));
  if (object.list() != nullptr && index != nullptr) return list_item(object.list()->items, *index);
  if (object.text() != nullptr && index != nullptr) {
    meter.spend(object.text()->size());
    return text_item(*object.text(), *index);
  }
  if (key.text() == nullptr) return Value::undefined("the " + kind_of(object) + " has no item under a " + kind_of(key));
  if (object.dict() != nullptr) {
    if (const Value* found = find_entry(*object.dict(), *key.text(), meter)) return *found;
  }
  return attribute_of(object, *key.text(), meter);
}

Value attribute_of(const Value& object, const std::string& name, Meter& meter) {
  if (object.is_undefined()) throw ConfigError(description_of(object));
  if (object.object() != nullptr) return object.object()->attribute(name);
  if (has_method(object, name)) return Value(Builtin{name, object});
  if (object.dict() != nullptr) {
    if (const Value* found = find_entry(*object.dict(), name, meter)) return *found;
  }
  return Value::undefined("the " + kind_of(object) + " has no '" + name + "'");
}

Value slice_of(const Value& object, const Value* first, const Value* last, const Value* step, Meter& meter) {
  if (object.list() == nullptr && object.text() == nullptr) {
    if (object.is_undefined()) throw ConfigError(description_of(object));
    throw ConfigError("a slice: expected a string or list, found " + description_of(object));
  }
  if (const ValueList* list = object.list()) {
    meter.spend(kItemCost * list->items.size());
    std::vector<Value> taken;
    for (const std::size_t place : slice_places(length_of(object), first, last, step)) taken.push_back(list->items[place]);
    return Value::list(std::move(taken), list->is_tuple);
  }
  const std::string& text = *object.text();
  meter.spend(2 * text.size());
  std::vector<std::size_t> begins;  // of the characters, and the text's end
  for (std::size_t i = 0; i < text.size(); i += code_point_at(text, i).bytes) begins.push_back(i);
  begins.push_back(text.size());
  std::string taken;
  for (const std::size_t place : slice_places(length_of(object), first, last, step)) {
    taken.append(text, begins[place], begins[place + 1] - begins[place]);
  }
  return taken;
}

}  // namespace troupe
