#include "common/chat/tests.h"

#include <map>

#include "common/base/error.h"
#include "common/chat/arguments.h"
#include "common/chat/operators.h"

namespace troupe {
namespace {

struct TestCall {
  const std::string& name;
  const Value& value;
  const CallArguments& arguments;
  Meter& meter;
};

using Test = bool (*)(const TestCall&);

/// A test without arguments.
template <auto holds>
bool plain(const TestCall& call) {
  const BoundArguments none(call.arguments, "test '" + call.name + "'", {});
  return holds(call.value);
}

/// A test that is the comparison `sign` under another name.
template <auto sign>
bool comparison(const TestCall& call) {
  const BoundArguments a(call.arguments, "test '" + call.name + "'", {"other"});
  return compare(sign, call.value, a.value(0), call.meter);
}

constexpr char kEqual[] = "==";
constexpr char kUnequal[] = "!=";
constexpr char kLess[] = "<";
constexpr char kLessEqual[] = "<=";
constexpr char kGreater[] = ">";
constexpr char kGreaterEqual[] = ">=";
constexpr char kIn[] = "in";

bool is_defined(const Value& v) { return !v.is_undefined(); }
bool is_undefined(const Value& v) { return v.is_undefined(); }
bool is_none(const Value& v) { return v.is_none(); }
bool is_boolean(const Value& v) { return v.as<bool>() != nullptr; }
bool is_true(const Value& v) { return is_boolean(v) && *v.as<bool>(); }
bool is_false(const Value& v) { return is_boolean(v) && !*v.as<bool>(); }
bool is_integer(const Value& v) { return v.as<std::int64_t>() != nullptr; }
bool is_float(const Value& v) { return v.as<double>() != nullptr; }
bool is_number(const Value& v) { return v.is_number(); }
bool is_string(const Value& v) { return v.text() != nullptr; }
bool is_mapping(const Value& v) { return v.dict() != nullptr; }
/// Jinja2's Undefined has the methods that these look for, so it counts.
bool is_iterable(const Value& v) { return v.text() != nullptr || v.list() != nullptr || v.dict() != nullptr || v.is_undefined(); }
bool is_callable(const Value& v) { return v.builtin() != nullptr || v.is_undefined() || (v.object() != nullptr && v.object()->kind() == "macro"); }

std::int64_t integer_for(const TestCall& call) {
  std::int64_t room = 0;
  const std::int64_t* integer = integer_of(call.value, room);
  if (integer == nullptr) throw ConfigError("test '" + call.name + "': expected an integer, found " + description_of(call.value));
  return *integer;
}

bool is_odd(const TestCall& call) { return integer_for(call) % 2 != 0; }
bool is_even(const TestCall& call) { return integer_for(call) % 2 == 0; }

bool is_divisible(const TestCall& call) {
  const std::int64_t by = BoundArguments(call.arguments, "test 'divisibleby'", {"num"}).integer(0);
  return equal(arithmetic("%", integer_for(call), by, call.meter), std::int64_t{0}, call.meter);
}

const std::map<std::string_view, Test>& tests() {
  static const std::map<std::string_view, Test> kTests = {
      {"defined", plain<is_defined>}, {"undefined", plain<is_undefined>}, {"none", plain<is_none>}, {"boolean", plain<is_boolean>},
      {"true", plain<is_true>}, {"false", plain<is_false>}, {"integer", plain<is_integer>}, {"float", plain<is_float>},
      {"number", plain<is_number>}, {"string", plain<is_string>}, {"mapping", plain<is_mapping>}, {"iterable", plain<is_iterable>},
      {"sequence", plain<is_iterable>}, {"callable", plain<is_callable>}, {"odd", is_odd}, {"even", is_even},
      {"divisibleby", is_divisible}, {"in", comparison<kIn>}, {"eq", comparison<kEqual>}, {"equalto", comparison<kEqual>},
      {"==", comparison<kEqual>}, {"ne", comparison<kUnequal>}, {"!=", comparison<kUnequal>}, {"lt", comparison<kLess>},
      {"lessthan", comparison<kLess>}, {"<", comparison<kLess>}, {"le", comparison<kLessEqual>}, {"<=", comparison<kLessEqual>},
      {"gt", comparison<kGreater>}, {"greaterthan", comparison<kGreater>}, {">", comparison<kGreater>}, {"ge", comparison<kGreaterEqual>},
      {">=", comparison<kGreaterEqual>}};
  return kTests;
}

}  // namespace

bool is_test(const std::string& name) { return tests().contains(name); }

bool apply_test(const std::string& name, const Value& value, const CallArguments& arguments, Meter& meter) {
  const auto found = tests().find(name);
  if (found == tests().end()) throw ConfigError("the test '" + name + "' is not supported");
  meter.spend(1);
  return found->second({name, value, arguments, meter});
}

}  // namespace troupe
