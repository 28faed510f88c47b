#include "common/chat/value.h"

#include <algorithm>
#include <cmath>

#include "common/base/error.h"
#include "common/base/utf8.h"
#include "common/chat/python_text.h"

namespace troupe {
namespace {

constexpr int kMaxDepth = 100;

int depth_of(const Value& value) {
  if (const ValueList* list = value.list()) return list->depth;
  if (const ValueDict* dict = value.dict()) return dict->depth;
  return 0;
}

int depth_above(int inner) {
  if (inner >= kMaxDepth) throw ConfigError("lists and dictionaries are nested more than " + std::to_string(kMaxDepth) + " deep");
  return inner + 1;
}

void write_repr(const Value& value, MeteredText& out, Meter& meter);

void write_list(const ValueList& list, MeteredText& out, Meter& meter) {
  out << (list.is_tuple ? "(" : "[");
  for (std::size_t i = 0; i < list.items.size(); ++i) {
    if (i > 0) out << ", ";
    write_repr(list.items[i], out, meter);
  }
  out << (!list.is_tuple ? "]" : list.items.size() == 1 ? ",)" : ")");
}

void write_dict(const ValueDict& dict, MeteredText& out, Meter& meter) {
  out << "{";
  for (std::size_t i = 0; i < dict.entries.size(); ++i) {
    if (i > 0) out << ", ";
    out << python_text::repr(dict.entries[i].first) << ": ";
    write_repr(dict.entries[i].second, out, meter);
  }
  out << "}";
}

/// Of what holds no other value.
std::string simple_text(const Value& value) {
  if (value.is_none()) return "None";
  if (const bool* flag = value.as<bool>()) return *flag ? "True" : "False";
  if (const auto* integer = value.as<std::int64_t>()) return std::to_string(*integer);
  if (const double* number = value.as<double>()) return python_text::repr(*number);
  throw ConfigError("expected a value that can be written as text, found a " + kind_of(value));
}

void write_repr(const Value& value, MeteredText& out, Meter& meter) {
  meter.spend(1);
  if (const std::string* text = value.text()) out << python_text::repr(*text);
  else if (const ValueList* list = value.list()) write_list(*list, out, meter);
  else if (const ValueDict* dict = value.dict()) write_dict(*dict, out, meter);
  else out << (value.is_undefined() ? "Undefined" : simple_text(value));
}

bool equal_lists(const ValueList& a, const ValueList& b, Meter& meter) {
  if (a.is_tuple != b.is_tuple || a.items.size() != b.items.size()) return false;
  for (std::size_t i = 0; i < a.items.size(); ++i) {
    if (!equal(a.items[i], b.items[i], meter)) return false;
  }
  return true;
}

bool equal_dicts(const ValueDict& a, const ValueDict& b, Meter& meter) {
  if (a.entries.size() != b.entries.size()) return false;
  return std::all_of(a.entries.begin(), a.entries.end(), [&](const auto& entry) {
    const Value* other = find_entry(b, entry.first, meter);
    return other != nullptr && equal(entry.second, *other, meter);
  });
}

bool equal_numbers(const Value& a, const Value& b) {
  std::int64_t room_a = 0;
  std::int64_t room_b = 0;
  const std::int64_t* const x = integer_of(a, room_a);
  const std::int64_t* const y = integer_of(b, room_b);
  return x != nullptr && y != nullptr ? *x == *y : number_of(a) == number_of(b);
}

bool less_numbers(const Value& a, const Value& b) {
  std::int64_t room_a = 0;
  std::int64_t room_b = 0;
  const std::int64_t* const x = integer_of(a, room_a);
  const std::int64_t* const y = integer_of(b, room_b);
  return x != nullptr && y != nullptr ? *x < *y : number_of(a) < number_of(b);
}

}  // namespace

Value::Value(Builtin builtin) : data_(std::make_shared<const Builtin>(std::move(builtin))) {}

Value Value::undefined(std::string why) {
  Value value;
  value.data_ = Undefined{std::make_shared<const std::string>(std::move(why))};
  return value;
}

Value Value::list(std::vector<Value> items, bool is_tuple) {
  int depth = 0;
  for (const Value& item : items) depth = std::max(depth, depth_of(item));
  depth = depth_above(depth);
  Value value;
  value.data_ = std::make_shared<const ValueList>(ValueList{std::move(items), is_tuple, depth});
  return value;
}

Value Value::dict(std::vector<std::pair<std::string, Value>> entries) {
  int depth = 0;
  for (const auto& entry : entries) depth = std::max(depth, depth_of(entry.second));
  depth = depth_above(depth);
  Value value;
  value.data_ = std::make_shared<const ValueDict>(ValueDict{std::move(entries), depth});
  return value;
}

Value Value::from_json(const nlohmann::ordered_json& json) {
  using Type = nlohmann::ordered_json::value_t;
  switch (json.type()) {
    case Type::null: return None{};
    case Type::boolean: return json.get<bool>();
    case Type::number_integer: return json.get<std::int64_t>();
    case Type::number_unsigned:
      if (json.get<std::uint64_t>() > static_cast<std::uint64_t>(INT64_MAX)) throw ConfigError("expected an integer below 2^63, found " + json.dump());
      return json.get<std::int64_t>();
    case Type::number_float: return json.get<double>();
    case Type::string: return json.get<std::string>();
    case Type::array: {
      std::vector<Value> items;
      for (const auto& item : json) items.push_back(from_json(item));
      return list(std::move(items));
    }
    case Type::object: {
      std::vector<std::pair<std::string, Value>> entries;
      for (const auto& [key, item] : json.items()) entries.emplace_back(key, from_json(item));
      return dict(std::move(entries));
    }
    default: throw ConfigError(std::string("expected JSON text, found ") + json.type_name());
  }
}

const std::string* Value::text() const {
  const auto* held = as<std::shared_ptr<const std::string>>();
  return held == nullptr ? nullptr : held->get();
}

const ValueList* Value::list() const {
  const auto* held = as<std::shared_ptr<const ValueList>>();
  return held == nullptr ? nullptr : held->get();
}

const ValueDict* Value::dict() const {
  const auto* held = as<std::shared_ptr<const ValueDict>>();
  return held == nullptr ? nullptr : held->get();
}

const Builtin* Value::builtin() const {
  const auto* held = as<std::shared_ptr<const Builtin>>();
  return held == nullptr ? nullptr : held->get();
}

TemplateObject* Value::object() const {
  TemplateObject* const* held = as<TemplateObject*>();
  return held == nullptr ? nullptr : *held;
}

std::string kind_of(const Value& value) {
  if (value.is_undefined()) return "undefined value";
  if (value.is_none()) return "none";
  if (value.as<bool>() != nullptr) return "boolean";
  if (value.as<std::int64_t>() != nullptr) return "integer";
  if (value.as<double>() != nullptr) return "float";
  if (value.text() != nullptr) return "string";
  if (const ValueList* list = value.list()) return list->is_tuple ? "tuple" : "list";
  if (value.dict() != nullptr) return "dictionary";
  if (value.builtin() != nullptr) return "function";
  return value.object()->kind();
}

std::string description_of(const Value& value) {
  const auto* undefined = value.as<Undefined>();
  return undefined != nullptr && undefined->why ? *undefined->why : kind_of(value);
}

bool truth_of(const Value& value) {
  if (const bool* flag = value.as<bool>()) return *flag;
  if (value.is_number()) return number_of(value) != 0;
  if (const std::string* text = value.text()) return !text->empty();
  if (const ValueList* list = value.list()) return !list->items.empty();
  if (const ValueDict* dict = value.dict()) return !dict->entries.empty();
  return !value.is_undefined() && !value.is_none();
}

const std::int64_t* integer_of(const Value& value, std::int64_t& room) {
  if (const bool* flag = value.as<bool>()) {
    room = *flag ? 1 : 0;
    return &room;
  }
  return value.as<std::int64_t>();
}

double number_of(const Value& value) {
  if (const double* number = value.as<double>()) return *number;
  std::int64_t room = 0;
  const std::int64_t* integer = integer_of(value, room);
  if (integer == nullptr) throw ConfigError("expected a number, found " + description_of(value));
  return static_cast<double>(*integer);
}

std::string str_of(const Value& value, Meter& meter) {
  if (const std::string* text = value.text()) {
    meter.spend(text->size());
    return *text;
  }
  return value.is_undefined() ? "" : repr_of(value, meter);
}

std::string repr_of(const Value& value, Meter& meter) {
  MeteredText out(meter);
  write_repr(value, out, meter);
  return out.take();
}

std::vector<Value> items_of(const Value& value, Meter& meter) {
  constexpr std::size_t kItemCost = 8;
  std::vector<Value> items;
  if (const ValueList* list = value.list()) {
    meter.spend(kItemCost * list->items.size());
    return list->items;
  }
  if (const ValueDict* dict = value.dict()) {
    meter.spend(kItemCost * dict->entries.size());
    for (const auto& entry : dict->entries) items.emplace_back(entry.first);
  } else if (const std::string* text = value.text()) {
    meter.spend(kItemCost * text->size());
    for (std::size_t i = 0; i < text->size();) {
      const std::size_t bytes = code_point_at(*text, i).bytes;
      items.emplace_back(text->substr(i, bytes));
      i += bytes;
    }
  } else if (!value.is_undefined()) {
    throw ConfigError("expected something with items, found " + description_of(value));
  }
  return items;
}

std::int64_t length_of(const Value& value) {
  if (const ValueList* list = value.list()) return static_cast<std::int64_t>(list->items.size());
  if (const ValueDict* dict = value.dict()) return static_cast<std::int64_t>(dict->entries.size());
  if (const std::string* text = value.text()) return static_cast<std::int64_t>(python_text::length(*text));
  if (value.is_undefined()) return 0;
  throw ConfigError("expected something with a length, found " + description_of(value));
}

void set_entry(std::vector<std::pair<std::string, Value>>& entries, const std::string& key, Value value) {
  const auto found = std::find_if(entries.begin(), entries.end(), [&](const auto& entry) { return entry.first == key; });
  if (found == entries.end()) entries.emplace_back(key, std::move(value));
  else found->second = std::move(value);
}

const Value* find_entry(const ValueDict& dict, std::string_view key, Meter& meter) {
  meter.spend(dict.entries.size());
  const auto found = std::find_if(dict.entries.begin(), dict.entries.end(), [&](const auto& entry) { return entry.first == key; });
  return found == dict.entries.end() ? nullptr : &found->second;
}

bool equal(const Value& a, const Value& b, Meter& meter) {
  meter.spend(1);
  if (a.is_number() && b.is_number()) return equal_numbers(a, b);
  if (a.text() != nullptr && b.text() != nullptr) {
    meter.spend(a.text()->size());
    return *a.text() == *b.text();
  }
  if (a.list() != nullptr && b.list() != nullptr) return equal_lists(*a.list(), *b.list(), meter);
  if (a.dict() != nullptr && b.dict() != nullptr) return equal_dicts(*a.dict(), *b.dict(), meter);
  if (a.object() != nullptr) return a.object() == b.object();
  return (a.is_none() && b.is_none()) || (a.is_undefined() && b.is_undefined());
}

bool less(const Value& a, const Value& b, Meter& meter) {
  meter.spend(1);
  if (a.is_number() && b.is_number()) return less_numbers(a, b);
  if (a.text() != nullptr && b.text() != nullptr) return *a.text() < *b.text();  // order of UTF-8 is order of code points
  if (a.list() != nullptr && b.list() != nullptr && a.list()->is_tuple == b.list()->is_tuple) {
    const auto& x = a.list()->items;
    const auto& y = b.list()->items;
    for (std::size_t i = 0; i < x.size() && i < y.size(); ++i) {
      if (!equal(x[i], y[i], meter)) return less(x[i], y[i], meter);
    }
    return x.size() < y.size();
  }
  throw ConfigError("expected two values that have an order, found " + description_of(a) + " and " + description_of(b));
}

bool contains(const Value& container, const Value& item, Meter& meter) {
  if (const std::string* text = container.text()) {
    if (item.text() == nullptr) throw ConfigError("`in` a string: expected a string, found " + description_of(item));
    meter.spend(text->size());
    return text->find(*item.text()) != std::string::npos;
  }
  if (const ValueDict* dict = container.dict()) {
    if (item.list() != nullptr || item.dict() != nullptr) throw ConfigError("`in` a dictionary: expected a key, found " + kind_of(item));
    return item.text() != nullptr && find_entry(*dict, *item.text(), meter) != nullptr;
  }
  if (const ValueList* list = container.list()) {
    return std::any_of(list->items.begin(), list->items.end(), [&](const Value& other) { return equal(other, item, meter); });
  }
  if (container.is_undefined()) return false;
  throw ConfigError("`in`: expected a string, list or dictionary, found " + description_of(container));
}

}  // namespace troupe
