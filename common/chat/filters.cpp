#include "common/chat/filters.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <map>

#include "common/base/error.h"
#include "common/base/text.h"
#include "common/chat/arguments.h"
#include "common/chat/json_text.h"
#include "common/chat/operators.h"
#include "common/chat/python_text.h"
#include "common/chat/tests.h"

namespace troupe {
namespace {

struct FilterCall {
  const std::string& name;
  const Value& value;
  const CallArguments& arguments;
  Meter& meter;

  BoundArguments bind(std::initializer_list<std::string_view> parameters) const { return {arguments, "filter '" + name + "'", parameters}; }
  std::string text() const { return str_of(value, meter); }
  std::vector<Value> items() const { return items_of(value, meter); }
};

using Filter = Value (*)(const FilterCall&);

// --- Texts ---

Value with_case(const FilterCall& call) {
  call.bind({});
  if (call.name == "upper") return python_text::upper(call.text());
  if (call.name == "lower") return python_text::lower(call.text());
  return call.name == "title" ? python_text::title_of_words(call.text()) : python_text::capitalize(call.text());
}

Value trim_filter(const FilterCall& call) {
  const BoundArguments a = call.bind({"chars"});
  std::optional<std::string_view> characters;
  if (a[0] != nullptr && !a[0]->is_none()) characters = a.text(0);
  return Value(python_text::strip(call.text(), characters));
}

/// `string`, and `safe`, which changes nothing where nothing is escaped.
Value string_filter(const FilterCall& call) {
  call.bind({});
  return call.text();
}

Value replace_filter(const FilterCall& call) {
  const BoundArguments a = call.bind({"old", "new", "count"});
  const std::int64_t most = a[2] != nullptr && a[2]->is_none() ? -1 : a.integer_or(2, -1);
  return python_text::replace(call.text(), str_of(a.value(0), call.meter), str_of(a.value(1), call.meter), most, call.meter);
}

Value indent_filter(const FilterCall& call) {
  const BoundArguments a = call.bind({"width", "first", "blank"});
  if (call.value.text() == nullptr) throw ConfigError("filter 'indent': expected a string, found " + description_of(call.value));
  const bool by_text = a[0] != nullptr && a[0]->text() != nullptr;
  const std::int64_t width = by_text ? 0 : a.integer_or(0, 4);
  call.meter.spend(static_cast<std::size_t>(std::max<std::int64_t>(width, 0)));
  const std::string indentation = by_text ? a.text(0) : std::string(static_cast<std::size_t>(std::max<std::int64_t>(width, 0)), ' ');
  const std::string text = call.text() + "\n";
  MeteredText result(call.meter);
  bool is_first = true;
  for (const std::string_view line : python_text::split_lines(text, false)) {
    if (!is_first) result << "\n";
    if (is_first ? a.truth_or(1, false) : !line.empty() || a.truth_or(2, false)) result << indentation;
    result << line;
    is_first = false;
  }
  return result.take();
}

Value tojson_filter(const FilterCall& call) {
  const BoundArguments a = call.bind({"ensure_ascii", "indent", "separators", "sort_keys"});
  JsonStyle style;
  style.ensure_ascii = a.truth_or(0, false);
  style.sort_keys = a.truth_or(3, false);
  if (a[1] != nullptr && !a[1]->is_none()) {
    const std::int64_t width = a[1]->text() == nullptr ? std::max<std::int64_t>(a.integer(1), 0) : 0;
    call.meter.spend(static_cast<std::size_t>(width));
    style.indent = a[1]->text() != nullptr ? *a[1]->text() : std::string(static_cast<std::size_t>(width), ' ');
    style.item_separator = ",";
  }
  if (a[2] != nullptr && !a[2]->is_none()) {
    const std::vector<Value> pair = items_of(*a[2], call.meter);
    if (pair.size() != 2 || pair[0].text() == nullptr || pair[1].text() == nullptr) throw ConfigError("filter 'tojson': 'separators': expected two strings");
    style.item_separator = *pair[0].text();
    style.key_separator = *pair[1].text();
  }
  return json_text(call.value, style, call.meter);
}

// --- Numbers ---

Value int_filter(const FilterCall& call) {
  constexpr double kBeyond = 9223372036854775808.0;  // 2^63
  const BoundArguments a = call.bind({"default"});
  if (call.value.is_undefined()) throw ConfigError(description_of(call.value));
  std::int64_t room = 0;
  if (const std::int64_t* integer = integer_of(call.value, room)) return *integer;
  std::optional<double> number;
  if (const double* given = call.value.as<double>()) number = *given;
  if (const std::string* text = call.value.text()) {
    const std::string_view digits = python_text::strip(*text, std::nullopt);
    std::int64_t integer = 0;
    const std::string_view bare = digits.starts_with('+') ? digits.substr(1) : digits;
    const auto result = std::from_chars(bare.data(), bare.data() + bare.size(), integer);
    if (result.ec == std::errc() && result.ptr == bare.data() + bare.size()) return integer;
    number = parse_double(digits);
  }
  if (number && std::abs(*number) < kBeyond) return static_cast<std::int64_t>(*number);
  return a[0] != nullptr ? *a[0] : Value(std::int64_t{0});
}

Value float_filter(const FilterCall& call) {
  const BoundArguments a = call.bind({"default"});
  if (call.value.is_undefined()) throw ConfigError(description_of(call.value));
  if (call.value.is_number()) return number_of(call.value);
  if (const std::string* text = call.value.text()) {
    if (const auto number = parse_double(python_text::strip(*text, std::nullopt))) return *number;
  }
  return a[0] != nullptr ? *a[0] : Value(0.0);
}

Value abs_filter(const FilterCall& call) {
  call.bind({});
  const bool negative = call.value.is_number() && number_of(call.value) < 0;
  return with_sign(negative ? "-" : "+", call.value);
}

// --- Items ---

Value length_filter(const FilterCall& call) {
  call.bind({});
  return length_of(call.value);
}

Value list_filter(const FilterCall& call) {
  call.bind({});
  return Value::list(call.items());
}

Value default_filter(const FilterCall& call) {
  const BoundArguments a = call.bind({"default_value", "boolean"});
  const bool missing = call.value.is_undefined() || (a.truth_or(1, false) && !truth_of(call.value));
  return !missing ? call.value : a[0] != nullptr ? *a[0] : Value("");
}

Value end_filter(const FilterCall& call) {
  call.bind({});
  const std::vector<Value> items = call.items();
  if (items.empty()) return Value::undefined("there is no " + call.name + " item, the sequence is empty");
  return call.name == "first" ? items.front() : items.back();
}

Value reverse_filter(const FilterCall& call) {
  call.bind({});
  if (call.value.text() != nullptr) {
    const Value step(std::int64_t{-1});
    return slice_of(call.value, nullptr, nullptr, &step, call.meter);
  }
  std::vector<Value> items = call.items();
  std::reverse(items.begin(), items.end());
  return Value::list(std::move(items));
}

Value items_filter(const FilterCall& call) {
  call.bind({});
  if (call.value.is_undefined()) return Value::list({});
  if (call.value.dict() == nullptr) throw ConfigError("filter 'items': expected a dictionary, found " + description_of(call.value));
  std::vector<Value> items;
  for (const auto& [key, value] : call.value.dict()->entries) items.push_back(Value::list({Value(key), value}, true));
  call.meter.spend(items.size());
  return Value::list(std::move(items));
}

/// item.a.b for "a.b" and item[0] for 0; the item itself for null.
Value attribute_path(const Value& item, const Value* path, Meter& meter) {
  if (path == nullptr || path->is_none()) return item;
  if (path->text() == nullptr) return item_of(item, *path, meter);
  Value value = item;
  for (const std::string_view part : split(*path->text(), '.')) {
    const bool is_number = !part.empty() && part.size() < 10 && part.find_first_not_of("0123456789") == std::string_view::npos;
    value = item_of(value, is_number ? Value(static_cast<std::int64_t>(std::stol(std::string(part)))) : Value(part), meter);
  }
  return value;
}

Value join_filter(const FilterCall& call) {
  const BoundArguments a = call.bind({"d", "attribute"});
  const std::string separator = a[0] == nullptr ? "" : str_of(*a[0], call.meter);
  MeteredText result(call.meter);
  bool first = true;
  for (const Value& item : call.items()) {
    if (!std::exchange(first, false)) result << separator;
    result << str_of(attribute_path(item, a[1], call.meter), call.meter);
  }
  return result.take();
}

/// What map and the selecting filters go over: nothing where the value is false in a condition, as none is.
std::vector<Value> items_if_any(const FilterCall& call) {
  return truth_of(call.value) ? call.items() : std::vector<Value>();
}

/// select, reject, selectattr and rejectattr: by a test, or by truth.
Value select_filter(const FilterCall& call) {
  const bool by_attribute = call.name.ends_with("attr");
  const bool wanted = call.name.starts_with("select");
  const auto& given = call.arguments.positional;
  const std::size_t test_at = by_attribute ? 1 : 0;
  if (given.size() < test_at) throw ConfigError("filter '" + call.name + "': expected an attribute's name, found none");
  const bool has_test = given.size() > test_at;
  if (has_test && given[test_at].text() == nullptr) throw ConfigError("filter '" + call.name + "': expected a test's name, found " + description_of(given[test_at]));
  const CallArguments rest = without_first(call.arguments, test_at + 1);
  std::vector<Value> kept;
  for (const Value& item : items_if_any(call)) {
    const Value value = attribute_path(item, by_attribute ? &given[0] : nullptr, call.meter);
    const bool holds = has_test ? apply_test(*given[test_at].text(), value, rest, call.meter) : truth_of(value);
    if (holds == wanted) kept.push_back(item);
  }
  return Value::list(std::move(kept));
}

/// map(attribute='a', default=x), or map('filter', its arguments).
Value map_filter(const FilterCall& call) {
  std::vector<Value> mapped;
  if (call.arguments.positional.empty()) {
    const BoundArguments a = call.bind({"attribute", "default"});
    a.value(0);
    for (const Value& item : items_if_any(call)) {
      Value value = attribute_path(item, a[0], call.meter);
      mapped.push_back(value.is_undefined() && a[1] != nullptr ? *a[1] : std::move(value));
    }
    return Value::list(std::move(mapped));
  }
  const std::string* name = call.arguments.positional[0].text();
  if (name == nullptr) throw ConfigError("filter 'map': expected a filter's name, found " + description_of(call.arguments.positional[0]));
  const CallArguments rest = without_first(call.arguments, 1);
  for (const Value& item : items_if_any(call)) mapped.push_back(apply_filter(*name, item, rest, call.meter));
  return Value::list(std::move(mapped));
}

/// What sorting and `unique` compare: the item's attribute, in lower case where case does not count.
Value sort_key(const Value& item, const Value* attribute, bool case_counts, Meter& meter) {
  const Value key = attribute_path(item, attribute, meter);
  return key.text() == nullptr || case_counts ? key : Value(python_text::lower(str_of(key, meter)));
}

Value sorted(std::vector<std::pair<Value, Value>> keyed, bool reverse, Meter& meter) {
  // In reverse, equal ones keep their order, as Python has it.
  std::stable_sort(keyed.begin(), keyed.end(), [&](const auto& a, const auto& b) { return reverse ? less(b.first, a.first, meter) : less(a.first, b.first, meter); });
  std::vector<Value> items;
  for (auto& [key, item] : keyed) items.push_back(std::move(item));
  return Value::list(std::move(items));
}

Value sort_filter(const FilterCall& call) {
  const BoundArguments a = call.bind({"reverse", "case_sensitive", "attribute"});
  std::vector<std::pair<Value, Value>> keyed;
  for (const Value& item : call.items()) keyed.emplace_back(sort_key(item, a[2], a.truth_or(1, false), call.meter), item);
  return sorted(std::move(keyed), a.truth_or(0, false), call.meter);
}

Value dictsort_filter(const FilterCall& call) {
  const BoundArguments a = call.bind({"case_sensitive", "by", "reverse"});
  const bool by_value = a[1] != nullptr && a.text(1) == "value";
  if (a[1] != nullptr && !by_value && a.text(1) != "key") throw ConfigError("filter 'dictsort': 'by': expected key or value, found " + a.text(1));
  const CallArguments none;
  const Value pairs = items_filter({call.name, call.value, none, call.meter});
  const Value place(std::int64_t{by_value ? 1 : 0});
  std::vector<std::pair<Value, Value>> keyed;
  for (const Value& pair : pairs.list()->items) keyed.emplace_back(sort_key(pair, &place, a.truth_or(0, false), call.meter), pair);
  return sorted(std::move(keyed), a.truth_or(2, false), call.meter);
}

Value unique_filter(const FilterCall& call) {
  const BoundArguments a = call.bind({"case_sensitive", "attribute"});
  std::vector<Value> seen;
  std::vector<Value> kept;
  for (const Value& item : call.items()) {
    Value key = sort_key(item, a[1], a.truth_or(0, false), call.meter);
    if (std::any_of(seen.begin(), seen.end(), [&](const Value& other) { return equal(other, key, call.meter); })) continue;
    seen.push_back(std::move(key));
    kept.push_back(item);
  }
  return Value::list(std::move(kept));
}

const std::map<std::string_view, Filter>& filters() {
  static const std::map<std::string_view, Filter> kFilters = {
      {"abs", abs_filter}, {"capitalize", with_case}, {"count", length_filter}, {"d", default_filter}, {"default", default_filter},
      {"dictsort", dictsort_filter}, {"first", end_filter}, {"float", float_filter}, {"indent", indent_filter}, {"int", int_filter},
      {"items", items_filter}, {"join", join_filter}, {"last", end_filter}, {"length", length_filter}, {"list", list_filter},
      {"lower", with_case}, {"map", map_filter}, {"reject", select_filter}, {"rejectattr", select_filter}, {"replace", replace_filter},
      {"reverse", reverse_filter}, {"safe", string_filter}, {"select", select_filter}, {"selectattr", select_filter}, {"sort", sort_filter},
      {"string", string_filter}, {"title", with_case}, {"tojson", tojson_filter}, {"trim", trim_filter}, {"unique", unique_filter},
      {"upper", with_case}};
  return kFilters;
}

}  // namespace

bool is_filter(const std::string& name) { return filters().contains(name); }

Value apply_filter(const std::string& name, const Value& value, const CallArguments& arguments, Meter& meter) {
  const auto found = filters().find(name);
  if (found == filters().end()) throw ConfigError("the filter '" + name + "' is not supported");
  meter.spend(1);
  return found->second({name, value, arguments, meter});
}

}  // namespace troupe
