#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace troupe {

/// A C++ program that calls `entry_point` of `program` with the arguments of one call, which its standard input numbers from 0, and
/// writes what it returns as JSON on a line of its own. The program's own `main` is set aside. Arguments become literals: numbers,
/// true and false, texts, null (std::nullopt), lists (in braces: vectors, arrays, sets, pairs, tuples) and objects (maps with text
/// keys); so the parameters are values or references to const. Of what is returned, numbers, texts, ranges, maps, pairs, tuples and
/// optionals of these can be written; anything else does not compile.
std::string with_calls(const std::string& program, const std::string& entry_point, const std::vector<nlohmann::json>& calls);

/// The program that `prompt` (a function without its body, as HumanEval-X has) and a completion make: one after the other where the
/// completion does not name `entry_point`, else the completion behind the prompt's includes.
std::string completed_cpp_prompt(const std::string& prompt, const std::string& program, const std::string& entry_point);

/// Whether the last line of `output` is `expected`, as JSON: 2 and 2.0 are the same, and numbers with a fraction may differ by 1e-9
/// of the larger.
bool same_value(const std::string& output, const nlohmann::json& expected);

}  // namespace troupe
