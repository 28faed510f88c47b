#include "rewarders/code/cpp_function.h"

#include <algorithm>
#include <cctype>
#include <cmath>
#include <cstdio>

#include "common/base/text.h"

namespace troupe {
namespace {

constexpr const char* kBefore = "#define main troupe_own_main\n#line 1 \"program.cpp\"\n";

constexpr const char* kAfter = R"cpp(
#undef main
#include <iomanip>
#include <iostream>
#include <limits>
#include <optional>
#include <string>
#include <tuple>
#include <type_traits>
  namespace troupe_calls {
  inline void write_text(const std::string& text) {
    std::cout << '"';
    for (const unsigned char c : text) {
      if (c == '"' || c == '\\')
        std::cout << '\\' << c;
      else if (c < 0x20)
        std::cout << "\\u00"
                  << "0123456789abcdef"[c >> 4] << "0123456789abcdef"[c & 15];
      else
        std::cout << c;
    }
    std::cout << '"';
  }
  template <class T>
  void write(const T& value) {
    const char* comma = "";
    if constexpr (std::is_same_v<T, bool>) {
      std::cout << (value ? "true" : "false");
    } else if constexpr (std::is_same_v<T, char>) {
      write_text(std::string(1, value));
    } else if constexpr (std::is_integral_v<T>) {
      std::cout << +value;
    } else if constexpr (std::is_floating_point_v<T>) {
      std::cout << std::setprecision(17) << value;
    } else if constexpr (std::is_convertible_v<T, std::string>) {
      write_text(value);
    } else if constexpr (std::is_same_v<T, std::nullopt_t>) {
      std::cout << "null";
    } else if constexpr (requires {
                           value.has_value();
                           *value;
                         }) {
      if (value)
        write(*value);
      else
        std::cout << "null";
    } else if constexpr (requires {
                           typename T::mapped_type;
                           value.begin();
                         }) {
      std::cout << '{';
      for (const auto& [key, item] : value) {
        std::cout << comma;
        write(key);
        std::cout << ':';
        write(item);
        comma = ",";
      }
      std::cout << '}';
    } else if constexpr (requires {
                           value.begin();
                           value.end();
                         }) {
      std::cout << '[';
      for (auto at = value.begin(); at != value.end(); ++at) {
        std::cout << comma;
        write(static_cast<typename T::value_type>(*at));
        comma = ",";
      }
      std::cout << ']';
    } else {
      std::cout << '[';
      std::apply([&](const auto&... items) { ((std::cout << comma, write(items), comma = ","), ...); }, value);
      std::cout << ']';
    }
  }
  }  // namespace troupe_calls
  int main() {
    int number = -1;
    std::cin >> number;
    switch (number) {
)cpp";

std::string text_literal(const std::string& text) {
  std::string literal = "std::string(\"";
  for (const char c : text) {
    char octal[8];
    std::snprintf(octal, sizeof octal, "\\%03o", static_cast<unsigned>(static_cast<unsigned char>(c)));
    literal += octal;
  }
  return literal + "\", " + std::to_string(text.size()) + ")";
}

std::string literal_of(const nlohmann::json& value) {
  if (value.is_string()) return text_literal(value.get<std::string>());
  if (value.is_null()) return "std::nullopt";
  if (value.is_number_integer()) return value >= -2147483647 && value <= 2147483647 ? value.dump() : value.dump() + "LL";
  if (!value.is_structured()) return value.dump();
  std::string literal = "{";
  for (const auto& [key, item] : value.items()) {
    if (literal.size() > 1) literal += ", ";
    literal += value.is_array() ? literal_of(item) : "{" + text_literal(key) + ", " + literal_of(item) + "}";
  }
  return literal + "}";
}

bool same(const nlohmann::json& a, const nlohmann::json& b) {
  if (a.is_number_float() || b.is_number_float()) {
    if (!a.is_number() || !b.is_number()) return false;
    const auto x = a.get<double>(), y = b.get<double>();
    return std::abs(x - y) <= 1e-9 * std::max({1.0, std::abs(x), std::abs(y)});
  }
  if (a.type() != b.type() && !(a.is_number() && b.is_number())) return false;
  if (!a.is_structured()) return a == b;
  if (a.size() != b.size()) return false;
  if (a.is_array()) return std::equal(a.begin(), a.end(), b.begin(), same);
  for (const auto& [key, item] : a.items()) {
    if (!b.contains(key) || !same(item, b.at(key))) return false;
  }
  return true;
}

/// Whether `name` is called or defined somewhere in it.
bool mentions(const std::string& program, const std::string& name) {
  for (std::size_t at = program.find(name); at != std::string::npos; at = program.find(name, at + 1)) {
    const bool begins = at == 0 || (std::isalnum(static_cast<unsigned char>(program[at - 1])) == 0 && program[at - 1] != '_');
    const std::string_view rest = trim(std::string_view(program).substr(at + name.size()));
    if (begins && rest.starts_with("(")) return true;
  }
  return false;
}

}  // namespace

std::string completed_cpp_prompt(const std::string& prompt, const std::string& program, const std::string& entry_point) {
  if (!mentions(program, entry_point)) return prompt + program;
  std::string head;
  for (const std::string_view line : split(prompt, '\n')) {
    if (line.starts_with("#include") || line.starts_with("using namespace")) head += std::string(line) + "\n";
  }
  return head + program;
}

std::string with_calls(const std::string& program, const std::string& entry_point, const std::vector<nlohmann::json>& calls) {
  std::string text = kBefore + program + kAfter;
  for (std::size_t i = 0; i < calls.size(); ++i) {
    std::string arguments;
    for (const nlohmann::json& argument : calls[i]) arguments += (arguments.empty() ? "" : ", ") + literal_of(argument);
    text += "    case " + std::to_string(i) + ": { const auto value = " + entry_point + "(" + arguments +
            "); std::cout << '\\n'; troupe_calls::write(value); break; }\n";
  }
  return text + "  }\n  std::cout << std::endl;\n}\n";
}

bool same_value(const std::string& output, const nlohmann::json& expected) {
  const std::string_view text = trim(output);
  const std::size_t line = text.rfind('\n');
  const nlohmann::json value = nlohmann::json::parse(line == std::string_view::npos ? text : text.substr(line + 1), nullptr, false);
  return !value.is_discarded() && same(value, expected);
}

}  // namespace troupe
