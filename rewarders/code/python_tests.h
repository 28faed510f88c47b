#pragma once

#include <memory>
#include <string>
#include <vector>

#include "rewarders/code/verdict.h"

namespace troupe {

/// Tests in Python of a program in Python, as HumanEval (`check`) and MBPP (`asserts`) have them.
struct PythonItem {
  std::string program;
  std::string setup;                 // runs before the tests, may use what the program defines
  std::string stub;                  // the prompt: what it defines (helpers, imports) is taken from here, not from the program
  std::string entry_point;           // what `check` is called with
  std::string check;                 // defines check(candidate); empty: none
  std::vector<std::string> asserts;
};

/// Runs such tests. Program and tests are in two sandboxes that share one socket: the tests call the program from afar and compare
/// what comes back as values of built-in types, so the program sees neither tests nor expected values, and its classes' idea of
/// equality counts for nothing. The tests' sandbox is kept for the next program, each program has a fresh one. Of a value that is
/// not built in the tests may use attributes, calls, items, iteration, length and truth. One thread at a time.
class PythonTests {
 public:
  /// `sandbox` must outlive it.
  explicit PythonTests(const Sandbox& sandbox);
  ~PythonTests();

  /// `share`: every test is run, also after one that fails. Ends within the time limit and 3 seconds.
  Verdict run(const PythonItem& item, const SandboxLimits& limits, bool share);

 private:
  struct Tester;
  Tester& tester();

  const Sandbox& sandbox_;
  std::unique_ptr<Tester> tester_;
};

}  // namespace troupe
