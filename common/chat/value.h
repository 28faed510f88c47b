#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "common/chat/meter.h"

// The values of a chat template: Python's, as far as templates use them. Texts, lists and dictionaries never change once they
// are made, as in the sandbox that transformers renders in.

namespace troupe {

class Value;
class TemplateObject;
struct Builtin;

/// Nothing under that name or key. Empty text, false, no items; any other use is an error that says `why`.
struct Undefined {
  std::shared_ptr<const std::string> why;
};
struct None {};

struct ValueList {
  std::vector<Value> items;
  bool is_tuple = false;
  int depth = 1;  // levels of lists and dictionaries, this one included
};

/// In the order of insertion.
struct ValueDict {
  std::vector<std::pair<std::string, Value>> entries;
  int depth = 1;
};

class Value {
 public:
  Value() : data_(Undefined{}) {}
  Value(None none) : data_(none) {}                             // NOLINT(google-explicit-constructor)
  Value(bool value) : data_(value) {}                           // NOLINT(google-explicit-constructor)
  Value(std::int64_t value) : data_(value) {}                   // NOLINT(google-explicit-constructor)
  Value(double value) : data_(value) {}                         // NOLINT(google-explicit-constructor)
  Value(std::string value) : data_(std::make_shared<const std::string>(std::move(value))) {}  // NOLINT(google-explicit-constructor)
  explicit Value(std::string_view value) : Value(std::string(value)) {}
  explicit Value(const char* value) : Value(std::string(value)) {}
  /// Borrows: the evaluator owns its objects until the template is rendered.
  explicit Value(TemplateObject* object) : data_(object) {}
  explicit Value(Builtin builtin);

  static Value undefined(std::string why);
  /// @throws ConfigError where lists and dictionaries are nested too deeply.
  static Value list(std::vector<Value> items, bool is_tuple = false);
  static Value dict(std::vector<std::pair<std::string, Value>> entries);
  /// A later key of the same name replaces the earlier one's value. @throws ConfigError where nested too deeply.
  static Value from_json(const nlohmann::ordered_json& json);

  bool is_undefined() const { return std::holds_alternative<Undefined>(data_); }
  bool is_none() const { return std::holds_alternative<None>(data_); }
  bool is_number() const { return as<bool>() != nullptr || as<std::int64_t>() != nullptr || as<double>() != nullptr; }
  template <class T>
  const T* as() const { return std::get_if<T>(&data_); }
  /// Null where the value is of another type.
  const std::string* text() const;
  const ValueList* list() const;
  const ValueDict* dict() const;
  const Builtin* builtin() const;
  TemplateObject* object() const;

 private:
  std::variant<Undefined, None, bool, std::int64_t, double, std::shared_ptr<const std::string>, std::shared_ptr<const ValueList>,
               std::shared_ptr<const ValueDict>, std::shared_ptr<const Builtin>, TemplateObject*>
      data_;
};

/// A function of the template language, or the method `name` of `self` (undefined: none).
struct Builtin {
  std::string name;
  Value self;
};

struct CallArguments {
  std::vector<Value> positional;
  std::vector<std::pair<std::string, Value>> named;
};

/// What a template makes and can change: a namespace, a loop, a macro.
class TemplateObject {
 public:
  virtual ~TemplateObject() = default;
  virtual std::string kind() const = 0;
  virtual Value attribute(const std::string& name) const = 0;
};

/// "string", "list" …, for errors and for comparisons of kinds.
std::string kind_of(const Value& value);
/// The same with the reason of an undefined one.
std::string description_of(const Value& value);
bool truth_of(const Value& value);
/// A boolean or an integer as an integer; null otherwise.
const std::int64_t* integer_of(const Value& value, std::int64_t& room);
double number_of(const Value& value);

/// Python's str() and repr(). @throws ConfigError for functions, macros, namespaces.
std::string str_of(const Value& value, Meter& meter);
std::string repr_of(const Value& value, Meter& meter);

/// The items that a loop over the value sees: of a list, keys, code points; none of what is undefined.
/// @throws ConfigError for what has no items.
std::vector<Value> items_of(const Value& value, Meter& meter);
/// @throws ConfigError for what has no length.
std::int64_t length_of(const Value& value);
/// Replaces the value under `key`, or appends it.
void set_entry(std::vector<std::pair<std::string, Value>>& entries, const std::string& key, Value value);
/// Null where there is none.
const Value* find_entry(const ValueDict& dict, std::string_view key, Meter& meter);

bool equal(const Value& a, const Value& b, Meter& meter);
/// a < b of numbers, texts and lists. @throws ConfigError for other kinds.
bool less(const Value& a, const Value& b, Meter& meter);
/// Python's `item in container`.
bool contains(const Value& container, const Value& item, Meter& meter);

}  // namespace troupe
