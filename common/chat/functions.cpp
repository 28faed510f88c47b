#include "common/chat/functions.h"

#include <array>
#include <ctime>

#include "common/base/error.h"
#include "common/chat/arguments.h"

namespace troupe {
namespace {

constexpr std::size_t kMaxRange = 100'000;  // as in Jinja2's sandbox
constexpr std::size_t kItemCost = 8;

Value range(const CallArguments& arguments, Meter& meter) {
  const BoundArguments a(arguments, "range()", {"start", "stop", "step"});
  const bool has_start = a[1] != nullptr;
  const std::int64_t start = has_start ? a.integer(0) : 0;
  const std::int64_t stop = a.integer(has_start ? 1 : 0);
  const std::int64_t step = a.integer_or(2, 1);
  if (step == 0) throw ConfigError("range(): the step is zero");
  std::vector<Value> items;
  for (std::int64_t i = start; step > 0 ? i < stop : i > stop;) {
    if (items.size() == kMaxRange) throw ConfigError("range(): more than " + std::to_string(kMaxRange) + " numbers");
    items.emplace_back(i);
    if (__builtin_add_overflow(i, step, &i)) break;
  }
  meter.spend(kItemCost * items.size());
  return Value::list(std::move(items));
}

/// dict(a=1), or the copy of a dictionary with what is named beside it.
Value dict(const CallArguments& arguments) {
  if (arguments.positional.size() > 1 || (!arguments.positional.empty() && arguments.positional[0].dict() == nullptr)) {
    throw ConfigError("dict(): expected a dictionary or names with values");
  }
  std::vector<std::pair<std::string, Value>> entries;
  if (!arguments.positional.empty()) entries = arguments.positional[0].dict()->entries;
  for (const auto& [name, value] : arguments.named) set_entry(entries, name, value);
  return Value::dict(std::move(entries));
}

std::tm day_of(const std::string& date) {
  std::tm day{};
  const char* const end = strptime(date.c_str(), "%Y-%m-%d", &day);
  if (date.size() != 10 || end == nullptr || *end != '\0') throw ConfigError("date: expected YYYY-MM-DD, found \"" + date + "\"");
  const int asked = day.tm_mday;
  day.tm_hour = 12;  // no daylight saving moves noon to another day
  std::tm normal = day;
  if (timegm(&normal) == -1 || normal.tm_mday != asked) throw ConfigError("date: there is no day \"" + date + "\"");
  normal.tm_hour = 0;
  return normal;
}

Value strftime_now(const CallArguments& arguments, const std::string& date) {
  const std::string& format = BoundArguments(arguments, "strftime_now()", {"format"}).text(0);
  constexpr std::size_t kMaxFormat = 256;
  if (format.size() > kMaxFormat) throw ConfigError("strftime_now(): the format has more than " + std::to_string(kMaxFormat) + " bytes");
  const std::tm day = day_of(date);
  std::array<char, 64 * kMaxFormat> buffer{};
  // A space before the format tells an empty result from a failure.
  const std::size_t bytes = std::strftime(buffer.data(), buffer.size(), (" " + format).c_str(), &day);
  if (bytes == 0) throw ConfigError("strftime_now(): the format " + format + " gives too long a text");
  return std::string(buffer.data() + 1, bytes - 1);
}

}  // namespace

bool is_function(const std::string& name, const std::string& date) {
  return name == "range" || name == "dict" || name == "raise_exception" || (name == "strftime_now" && !date.empty());
}

Value call_function(const std::string& name, const CallArguments& arguments, const std::string& date, Meter& meter) {
  if (name == "range") return range(arguments, meter);
  if (name == "dict") return dict(arguments);
  if (name == "strftime_now") return strftime_now(arguments, date);
  const BoundArguments a(arguments, "raise_exception()", {"message"});
  throw ConfigError("the template refuses: " + str_of(a.value(0), meter));
}

void check_date(const std::string& date) {
  if (!date.empty()) day_of(date);
}

}  // namespace troupe
