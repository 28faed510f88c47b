#include "common/chat/methods.h"

#include <algorithm>
#include <map>

#include "common/base/error.h"
#include "common/chat/arguments.h"
#include "common/chat/python_text.h"

namespace troupe {
namespace {

struct MethodCall {
  const Value& self;
  const std::string& name;
  const CallArguments& arguments;
  Meter& meter;

  const std::string& text() const { return *self.text(); }
  BoundArguments bind(std::initializer_list<std::string_view> parameters) const { return {arguments, name + "()", parameters}; }
};

using Method = Value (*)(const MethodCall&);
using Methods = std::map<std::string_view, Method>;

constexpr std::size_t kPartCost = 64;

Value list_of(const std::vector<std::string_view>& parts, Meter& meter) {
  meter.spend(kPartCost * parts.size());
  std::vector<Value> items;
  for (const std::string_view part : parts) items.emplace_back(part);
  return Value::list(std::move(items));
}

Value split(const MethodCall& call) {
  const BoundArguments a = call.bind({"sep", "maxsplit"});
  std::optional<std::string_view> separator;
  if (a[0] != nullptr && !a[0]->is_none()) separator = a.text(0);
  if (separator && separator->empty()) throw ConfigError(call.name + "(): the separator is empty");
  return list_of(python_text::split(call.text(), separator, a.integer_or(1, -1), call.name == "rsplit"), call.meter);
}

Value split_lines(const MethodCall& call) {
  return list_of(python_text::split_lines(call.text(), call.bind({"keepends"}).truth_or(0, false)), call.meter);
}

Value strip(const MethodCall& call) {
  const BoundArguments a = call.bind({"chars"});
  std::optional<std::string_view> characters;
  if (a[0] != nullptr && !a[0]->is_none()) characters = a.text(0);
  return Value(python_text::strip(call.text(), characters, call.name != "rstrip", call.name != "lstrip"));
}

/// startswith and endswith: of one text, or of any in a tuple.
Value has_end(const MethodCall& call) {
  const BoundArguments a = call.bind({"prefix"});
  const auto fits = [&](const std::string& part) {
    return call.name == "startswith" ? call.text().starts_with(part) : call.text().ends_with(part);
  };
  const ValueList* choices = a.value(0).list();
  if (choices == nullptr) return fits(a.text(0));
  for (const Value& choice : choices->items) {
    if (choice.text() == nullptr) throw ConfigError(call.name + "(): expected strings in the tuple, found " + description_of(choice));
    if (fits(*choice.text())) return true;
  }
  return false;
}

Value with_case(const MethodCall& call) {
  call.bind({});
  if (call.name == "upper") return python_text::upper(call.text());
  if (call.name == "lower") return python_text::lower(call.text());
  return call.name == "title" ? python_text::title(call.text()) : python_text::capitalize(call.text());
}

Value replace(const MethodCall& call) {
  const BoundArguments a = call.bind({"old", "new", "count"});
  return python_text::replace(call.text(), a.text(0), a.text(1), a.integer_or(2, -1), call.meter);
}

Value without_end(const MethodCall& call) {
  const bool front = call.name == "removeprefix";
  const std::string& part = call.bind({front ? "prefix" : "suffix"}).text(0);
  std::string_view text = call.text();
  if (front ? !text.starts_with(part) : !text.ends_with(part)) return call.self;
  return Value(front ? text.substr(part.size()) : text.substr(0, text.size() - part.size()));
}

Value find(const MethodCall& call) {
  const std::string& part = call.bind({"sub"}).text(0);
  const std::size_t at = call.name[0] == 'r' ? call.text().rfind(part) : call.text().find(part);
  if (at != std::string::npos) return static_cast<std::int64_t>(python_text::length(std::string_view(call.text()).substr(0, at)));
  if (call.name == "find" || call.name == "rfind") return std::int64_t{-1};
  throw ConfigError("index(): the string is not found");
}

Value count_text(const MethodCall& call) {
  const std::string& part = call.bind({"sub"}).text(0);
  if (part.empty()) return static_cast<std::int64_t>(python_text::length(call.text())) + 1;
  std::int64_t count = 0;
  for (std::size_t at = call.text().find(part); at != std::string::npos; at = call.text().find(part, at + part.size())) ++count;
  return count;
}

Value join(const MethodCall& call) {
  const BoundArguments a = call.bind({"iterable"});
  MeteredText result(call.meter);
  bool first = true;
  for (const Value& item : items_of(a.value(0), call.meter)) {
    if (item.text() == nullptr) throw ConfigError("join(): expected strings, found " + description_of(item));
    if (!std::exchange(first, false)) result << call.text();
    result << *item.text();
  }
  return result.take();
}

Value count_item(const MethodCall& call) {
  const BoundArguments a = call.bind({"value"});
  const auto& items = call.self.list()->items;
  return static_cast<std::int64_t>(std::count_if(items.begin(), items.end(), [&](const Value& item) { return equal(item, a.value(0), call.meter); }));
}

Value index_of_item(const MethodCall& call) {
  const BoundArguments a = call.bind({"value"});
  const auto& items = call.self.list()->items;
  const auto found = std::find_if(items.begin(), items.end(), [&](const Value& item) { return equal(item, a.value(0), call.meter); });
  if (found == items.end()) throw ConfigError("index(): the list has no such item");
  return static_cast<std::int64_t>(found - items.begin());
}

Value copy(const MethodCall& call) {
  call.bind({});
  return call.self;
}

/// keys(), values() and items().
Value entries(const MethodCall& call) {
  call.bind({});
  call.meter.spend(kPartCost * call.self.dict()->entries.size());
  std::vector<Value> items;
  for (const auto& [key, value] : call.self.dict()->entries) {
    if (call.name == "keys") items.emplace_back(key);
    else if (call.name == "values") items.push_back(value);
    else items.push_back(Value::list({Value(key), value}, true));
  }
  return Value::list(std::move(items));
}

Value get(const MethodCall& call) {
  const BoundArguments a = call.bind({"key", "default"});
  const std::string* key = a.value(0).text();
  const Value* found = key == nullptr ? nullptr : find_entry(*call.self.dict(), *key, call.meter);
  return found != nullptr ? *found : a[1] != nullptr ? *a[1] : Value(None{});
}

Value refuse_change(const MethodCall& call) {
  throw ConfigError(call.name + "() would change a " + kind_of(call.self) + ", which a chat template may not do");
}

const Methods& methods_of(const Value& object) {
  static const Methods kText = {{"split", split}, {"rsplit", split}, {"splitlines", split_lines}, {"strip", strip}, {"lstrip", strip},
                                {"rstrip", strip}, {"startswith", has_end}, {"endswith", has_end}, {"upper", with_case},
                                {"lower", with_case}, {"title", with_case}, {"capitalize", with_case}, {"replace", replace},
                                {"removeprefix", without_end}, {"removesuffix", without_end}, {"find", find}, {"rfind", find},
                                {"index", find}, {"rindex", find}, {"count", count_text}, {"join", join}};
  static const Methods kTuple = {{"count", count_item}, {"index", index_of_item}};
  static const Methods kList = {{"count", count_item}, {"index", index_of_item}, {"copy", copy}, {"append", refuse_change},
                                {"extend", refuse_change}, {"insert", refuse_change}, {"pop", refuse_change}, {"remove", refuse_change},
                                {"reverse", refuse_change}, {"sort", refuse_change}, {"clear", refuse_change}};
  static const Methods kDict = {{"keys", entries}, {"values", entries}, {"items", entries}, {"get", get}, {"copy", copy},
                                {"update", refuse_change}, {"pop", refuse_change}, {"popitem", refuse_change},
                                {"setdefault", refuse_change}, {"clear", refuse_change}};
  static const Methods kNone;
  if (object.text() != nullptr) return kText;
  if (object.dict() != nullptr) return kDict;
  return object.list() == nullptr ? kNone : object.list()->is_tuple ? kTuple : kList;
}

}  // namespace

bool has_method(const Value& object, const std::string& name) { return methods_of(object).contains(name); }

Value call_method(const Value& object, const std::string& name, const CallArguments& arguments, Meter& meter) {
  if (object.text() != nullptr) meter.spend(object.text()->size());
  return methods_of(object).at(name)({object, name, arguments, meter});
}

}  // namespace troupe
