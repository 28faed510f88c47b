#pragma once

#include <string>
#include <vector>

#include "rewarders/code/program.h"
#include "rewarders/code/verdict.h"

namespace troupe {

/// One run of a program: what it reads, and what it must write.
struct OutputTest {
  std::string input;
  std::string output;
  bool is_value = false;  // `output` is JSON, and the last line that the program writes must be the same value (cpp_function.h)
};

/// Whether two outputs are the same but for white space at the ends of lines and empty lines at the end. A word that is expected to be a
/// number with a point or an exponent may be another that is within a millionth of it, absolute below 1 and relative above.
bool same_output(std::string_view given, std::string_view expected);

/// Runs a program on each test in a sandbox of its own; a C++ program is compiled once, in a sandbox too. The expected outputs stay
/// here. All runs of the program together have `limits.time_s`, the compiler has kCompileS besides.
/// `share`: goes on after a test that fails.
Verdict run_output_tests(const Sandbox& sandbox, const std::string& program, Language language, const std::vector<OutputTest>& tests,
                         const SandboxLimits& limits, bool share);

inline constexpr double kCompileS = 30;

}  // namespace troupe
