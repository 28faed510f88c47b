#include "rewarders/code/output_tests.h"

#include <algorithm>
#include <cmath>
#include <optional>

#include "common/base/text.h"
#include "rewarders/code/cpp_function.h"

namespace troupe {
namespace {

constexpr std::uint64_t kCompilerMemoryBytes = std::uint64_t{2} << 30;
constexpr std::uint64_t kProgramBytes = std::uint64_t{64} << 20;

std::vector<std::string_view> lines_of(std::string_view text) {
  std::vector<std::string_view> lines;
  for (const std::string_view line : split(text, '\n')) lines.push_back(line.substr(0, line.find_last_not_of(" \t\r\f\v") + 1));
  while (!lines.empty() && lines.back().empty()) lines.pop_back();
  return lines;
}

constexpr double kTolerance = 1e-6;  // as contests' checkers have it, absolute below 1 and relative above

bool same_word(std::string_view given, std::string_view expected) {
  if (given == expected) return true;
  if (expected.find_first_of(".eE") == std::string_view::npos) return false;
  const std::optional<double> a = parse_double(given), b = parse_double(expected);
  return a && b && std::abs(*a - *b) <= kTolerance * std::max(1.0, std::abs(*b));
}

bool same_line(std::string_view given, std::string_view expected) {
  return given == expected || std::ranges::equal(split(given, ' '), split(expected, ' '), same_word);
}

/// The compiler's outcome: the executable is its output.
SandboxOutcome compile(const Sandbox& sandbox, const std::string& program) {
  SandboxJob job;
  job.files = {{"/program.cpp", program, false}};
  job.command = {"sh", "-c", "g++ -std=c++20 -O2 -w -o /tmp/program /program.cpp >&2 && exec cat /tmp/program"};
  job.limits.time_s = kCompileS;
  job.limits.memory_bytes = kCompilerMemoryBytes;
  job.limits.output_bytes = kProgramBytes;
  return sandbox.run(job);
}

/// The job that runs the program, without its input.
SandboxJob job_of(const std::string& program, Language language, const SandboxLimits& limits) {
  SandboxJob job;
  job.limits = limits;
  if (language == Language::kPython) {
    job.files = {{"/program.py", program, false}};
    job.command = {"python3", "-I", "-B", "/program.py"};
  } else {
    job.files = {{"/program", program, true}};
    job.command = {"/program"};
  }
  return job;
}

/// Why a program that did not end well did so, as far as its errors tell: they may lie, which gains nothing.
std::string reason_with_errors(const SandboxOutcome& outcome) {
  if (outcome.end != SandboxEnd::kExited && outcome.end != SandboxEnd::kKilled) return reason_of(outcome);
  const std::string_view errors = trim(outcome.errors);
  const std::size_t last = errors.rfind('\n');
  const std::string_view line = errors.substr(last == std::string_view::npos ? 0 : last + 1);
  const auto says = [&](std::string_view word) { return line.find(word) != std::string_view::npos; };
  if (says("MemoryError") || errors.find("std::bad_alloc") != std::string_view::npos) return "memory_limit";
  if (says("SyntaxError") || says("IndentationError") || says("TabError")) return "compile_error";
  if (says("No space left") || says("File too large")) return "output_limit";
  // "[Errno 2] No such file or directory: '/etc/shadow'": of what it may not see.
  const std::size_t path = line.find(": '/");
  if (says("Error: [Errno") && path != std::string_view::npos && !line.substr(path + 3).starts_with("/tmp/")) return "forbidden";
  if (says("PermissionError") || says("Read-only file system") || says("BlockingIOError")) return "forbidden";
  return "runtime_error";
}

}  // namespace

bool same_output(std::string_view given, std::string_view expected) {
  return std::ranges::equal(lines_of(given), lines_of(expected), same_line);
}

Verdict run_output_tests(const Sandbox& sandbox, const std::string& program, Language language, const std::vector<OutputTest>& tests,
                         const SandboxLimits& limits, bool share) {
  Verdict verdict{0, tests.size(), "ok"};
  std::string text = program;
  if (language == Language::kCpp) {
    SandboxOutcome compiled = compile(sandbox, program);
    const bool by_itself = compiled.end == SandboxEnd::kExited || compiled.end == SandboxEnd::kKilled;
    if (!by_itself || compiled.code != 0) return {0, tests.size(), by_itself ? "compile_error" : reason_of(compiled)};
    text = std::move(compiled.output);
  }
  SandboxJob job = job_of(text, language, limits);
  for (const OutputTest& test : tests) {
    job.input = test.input;
    const SandboxOutcome outcome = sandbox.run(job);
    job.limits.time_s -= outcome.time_s;
    if (outcome.end == SandboxEnd::kFailed) return {0, tests.size(), "verifier_failed"};
    const bool well = outcome.end == SandboxEnd::kExited && outcome.code == 0;
    if (well && (test.is_value ? same_value(outcome.output, nlohmann::json::parse(test.output)) : same_output(outcome.output, test.output))) {
      ++verdict.passed;
      continue;
    }
    if (verdict.reason == "ok") verdict.reason = outcome.memory_kill ? "memory_limit" : well ? "wrong" : reason_with_errors(outcome);
    if (!share || job.limits.time_s <= 0) break;
  }
  return verdict;
}

}  // namespace troupe
