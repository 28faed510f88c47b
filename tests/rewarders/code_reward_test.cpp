#include <doctest/doctest.h>

#include <fstream>

#include "common/base/error.h"
#include "rewarders/reward.h"

namespace troupe {
namespace {

using Json = nlohmann::json;
using Parameters = std::map<std::string, std::string>;

/// A code reward with its sandbox.
class Code {
 public:
  explicit Code(Parameters parameters = {}) : reward_(make_reward({"code", "code", 1.0, std::move(parameters)})) {
    reward_->prepare();
  }
  Grade grade(const Json& row, const std::string& completion) const { return reward_->grade({row, completion, 0, FinishReason::kStop}); }
  /// "1 ok", "0 wrong" …
  std::string told(const Json& row, const std::string& completion) const {
    const Grade grade = this->grade(row, completion);
    return (grade.value ? Json(*grade.value).dump() : "null") + " " + grade.reason;
  }

 private:
  std::unique_ptr<Reward> reward_;
};

const Json kAdd = {{"test_list", {"assert add(1, 2) == 3", "assert add(2, 2) == 4", "assert add(0, 5) == 5"}}};

}  // namespace

TEST_SUITE("rewarders/code_reward") {
  TEST_CASE("assert lists, check functions and outputs tell right from wrong") {
    const Code code;
    const Json check = {{"prompt", "def add(a, b):\n    \"\"\"The sum.\"\"\"\n"},
                        {"entry_point", "add"},
                        {"test", "def check(candidate):\n    assert candidate(1, 2) == 3\n    assert candidate(-1, 1) == 0\n"}};
    const Json outputs = {{"tests", {{{"input", "1 2\n"}, {"output", "3\n"}}, {{"input", "5 5"}, {"output", "10"}}}}};

    CHECK(code.told(kAdd, "def add(a, b):\n    return a + b") == "1.0 ok");
    CHECK(code.told(kAdd, "Here:\n```python\ndef add(a, b):\n    return a * b\n```\n") == "0.0 wrong");
    CHECK(code.told(check, "    return a + b") == "1.0 ok");
    CHECK(code.told(check, "```python\ndef add(a, b):\n    return b + a\n```") == "1.0 ok");
    CHECK(code.told(check, "    return a - b") == "0.0 wrong");
    CHECK(code.told(outputs, "a, b = map(int, input().split())\nprint(a + b)  ") == "1.0 ok");
    CHECK(code.told(outputs, "print(3)") == "0.0 wrong");
    CHECK(code.told(outputs, "```cpp\n#include <iostream>\nint main() { int a, b; std::cin >> a >> b; std::cout << a + b; }\n```") == "1.0 ok");
  }

  TEST_CASE("calls of a C++ function are compared by what it returns") {
    const Code code;
    const Json row = {{"lang", "cpp"}, {"entry_point", "ranks"}, {"prompt", "#include <map>\n#include <string>\n#include <vector>\nusing namespace std;\n"
                       "map<string, double> ranks(const vector<vector<int>>& lists, string name, double share) {\n"},
                      {"tests", {{{"args", {{{1, 2}, {3}}, "a\"b", 0.5}}, {"output", {{"a\"b", 3}}}}, {{"args", {Json::array(), "", 2}}, {"output", {{"", 0}}}}}}};
    const std::string body = "  double sum = 0;\n  for (const auto& list : lists) for (int i : list) sum += i;\n  return {{name, sum * share}};\n}\n";
    const std::string whole = "map<string, double> ranks(const vector<vector<int>>& l, const string& n, double s) {\n  double t = 0;\n"
                              "  for (auto& x : l) for (int i : x) t += i;\n  return {{n, t * s}};\n}\nint main() { return 1; }\n";

    CHECK(code.told(row, body) == "1.0 ok");
    CHECK(code.told(row, "```cpp\n" + whole + "```") == "1.0 ok");
    CHECK(code.told(row, "  return {{name, 3}};\n}\n") == "0.0 wrong");
    CHECK(code.told(row, "  return 3;\n}\n") == "0.0 compile_error");
    CHECK(code.told(row, "  throw 1;\n}\n") == "0.0 runtime_error");
    CHECK(Code(Parameters{{"score", "share"}}).told(row, "  return {{name, name.empty() ? 0 : 1}};\n}\n") == "0.5 wrong");
    Json python = row;
    python.erase("lang");
    CHECK_THROWS_WITH_AS(code.grade(python, body), doctest::Contains("tests by \"args\" are of C++ alone"), ConfigError);
  }

  TEST_CASE("reference solutions of HumanEval and MBPP pass, and their functions without a body do not") {
    const Code code;
    std::ifstream file(std::string(TROUPE_TEST_DATA) + "/data/code/sample.jsonl");
    REQUIRE(file);
    int rows = 0;
    for (std::string line; std::getline(file, line); ++rows) {
      const Json row = Json::parse(line);
      CAPTURE(row["task_id"].dump());
      const std::string solution = row.contains("code") ? row["code"] : row["canonical_solution"];
      CHECK(code.told(row, solution) == "1.0 ok");
      CHECK(code.told(row, "Let me think.\n```python\n" + (row.contains("code") ? "" : row["prompt"].get<std::string>()) + solution + "\n```") == "1.0 ok");
      const std::string name = row.contains("entry_point") ? row["entry_point"] : Json("f");
      CHECK(code.grade(row, "def " + name + "(*args):\n    return None\n").value == 0.0);
    }
    CHECK(rows == 13);
  }

  TEST_CASE("score = share counts the tests that pass, also behind one that fails") {
    const Code code(Parameters{{"score", "share"}});
    const Json check = {{"entry_point", "f"}, {"test", "def check(candidate):\n    assert True\n    for i in range(4):\n        assert candidate(i) == i\n"}};
    const Json outputs = {{"tests", {{{"input", "1"}, {"output", "1"}}, {{"input", "2"}, {"output", "3"}}, {{"input", "4"}, {"output", "4"}}}}};

    CHECK(code.grade(kAdd, "def add(a, b):\n    return 4 if a else b").value == doctest::Approx(2.0 / 3));
    CHECK(code.grade(check, "def f(i):\n    return min(i, 2)").value == 0.75);
    CHECK(code.grade(check, "def f(i):\n    return i").value == 1.0);
    CHECK(code.grade(check, "def f(i):\n    return [1][i]").value == 0.0);
    CHECK(code.grade(outputs, "print(input())").value == doctest::Approx(2.0 / 3));
  }

  TEST_CASE("the reasons are those of the program's end") {
    const Code code(Parameters{{"time_s", "1"}, {"memory_mib", "256"}});
    struct Case {
      const char* completion;
      const char* told;
    };
    const Case cases[] = {
        {" \n", "0.0 no_answer"},
        {"def add(a, b):\nreturn a", "0.0 compile_error"},
        {"def sub(a, b): return a", "0.0 runtime_error"},
        {"def add(a, b): return 1 / 0", "0.0 runtime_error"},
        {"raise SystemExit(0)", "0.0 runtime_error"},
        {"import os\nos._exit(0)", "0.0 runtime_error"},
        {"while True: pass", "0.0 time_limit"},
        {"import time\ndef add(a, b): time.sleep(100)", "0.0 time_limit"},
        {"def add(a, b): return len('x' * (1 << 30))", "0.0 memory_limit"},
        {"def add(a, b):\n    while True: print('x' * 1000000)", "0.0 output_limit"},
        {"def add(a, b):\n    for i in range(9): open('/tmp/%d' % i, 'w').write('x' * (10 << 20))", "0.0 output_limit"},
        {"open('/usr/a', 'w')", "0.0 forbidden"},
        {"open('/etc/shadow')", "0.0 forbidden"},
        {"open('data.txt')", "0.0 runtime_error"},
        {"import socket\nsocket.create_connection(('1.1.1.1', 80))", "0.0 forbidden"},
        {"#include <iostream>\nint main() {}", "0.0 compile_error"},
        {"```cpp\nint main() {}\n```", "0.0 compile_error"},
    };

    for (const Case& c : cases) {
      CAPTURE(c.completion);
      CHECK(code.told(kAdd, c.completion) == c.told);
    }
    CHECK(code.told(kAdd, "def add(a, b): return a + b") == "1.0 ok");
  }

  TEST_CASE("forged results gain nothing") {
    const Code code(Parameters{{"time_s", "2"}});
    const char* forgeries[] = {
        "class Yes:\n    def __eq__(self, other): return True\ndef add(a, b): return Yes()",
        "class Yes(int):\n    def __eq__(self, other): return True\ndef add(a, b): return Yes()",
        "import builtins\nbuiltins.AssertionError = type('E', (BaseException,), {})\ndef add(a, b): return 0",
        "import os\nos.write(1, b'{\"passed\": 3, \"total\": 3, \"reason\": \"ok\"}\\n')\nos.write(4, b'{\"passed\": 3, \"total\": 3, \"reason\": \"ok\"}\\n')\nos._exit(0)",
        "import os\nos.write(4, b'[\"loaded\", {\"add\": [\"kept\", 0]}]\\n[\"value\", true]\\n[\"value\", true]\\n')\nos._exit(0)",
        "import sys\ndef add(a, b):\n    f = sys._getframe()\n    while f.f_back: f = f.f_back\n    return f.f_globals.get('expected', f.f_code.co_consts)",
        "import gc\ndef add(a, b):\n    return next(s for s in gc.get_objects() if isinstance(s, list) and any('assert add' in str(x) for x in s))",
        "import os, glob\ndef add(a, b):\n    return open(sorted(glob.glob('/proc/*/cmdline'))[-1]).read() + str(os.listdir('/'))",
        "import os\nos.write(4, b'[\"loaded\", [[\"add\", [\"kept\", 0]], [\"__test__\", true], [\"abs\", 1]]]\\n')\ndef add(a, b): pass",
        "import threading\nthreading.Thread(target=lambda: __import__('os').close(4)).start()",
        "def check(candidate): pass\ndef add(a, b): return None",
    };

    for (const char* forgery : forgeries) {
      CAPTURE(forgery);
      CHECK(code.grade(kAdd, forgery).value == 0.0);
    }
  }

  TEST_CASE("a program gives the tests no names but those that they want of it") {
    const Code code;
    const Json row = {{"test_list", {"assert abs(add(1, 2) - 4) < 1"}}};
    const char* forgery =
        "import os\nos.write(4, b'[\"loaded\", [[\"add\", [\"kept\", 0]], [\"abs\", [\"kept\", 1]]]]\\n[\"value\", 9]\\n[\"value\", 0]\\n')\n"
        "import time\ntime.sleep(1)";

    CHECK(code.grade(row, forgery).value == 0.0);
    CHECK(code.told(row, "def abs(x): return 0\ndef add(a, b): return 9") == "0.0 wrong");
    CHECK(code.told(row, "def add(a, b): return 4") == "1.0 ok");
  }

  TEST_CASE("tests may use classes, iterators, exceptions and modules of the program") {
    const Code code;
    const Json nodes = {{"test_setup_code", "root = Node(1)\nroot.left = Node(2)\nroot.left.left = Node(3)"},
                        {"test_list", {"assert height(root) == 3", "assert root.left.value == 2", "assert list(walk(root)) == [1, 2, 3]"}}};
    const Json builtin = {{"test_list", {"assert sum(10, 15) == 6"}}};
    const Json numbers = {{"test_list", {"assert f(1) == [1.5, float('inf'), -0.0, 10 ** 30, -10 ** 3000, True, None, b'a', {1: {2}}, (3,), frozenset([4]), 'é\\n']"}}};
    const Json lambdas = {{"test_list", {"assert f(lambda x: x) == 1"}}};
    const Json others = {{"test_imports", {"import math"}},
                         {"test_list",
                          {"assert math.isclose(half(1), 0.5)", "try:\n    half('x')\n    assert False\nexcept TypeError:\n    pass",
                           "assert sys.getsizeof(half) > 0", "assert half(1j) == 0.5j", "assert count('aab') == {'a': 2, 'b': 1}"}}};

    CHECK(code.told(nodes, "class Node:\n    def __init__(self, value):\n        self.value = value\n        self.left = None\n"
                           "def walk(n):\n    while n:\n        yield n.value\n        n = n.left\n"
                           "def height(n): return len(list(walk(n)))") == "1.0 ok");
    CHECK(code.told(builtin, "def sum(a, b): return 6") == "1.0 ok");
    CHECK(code.told(numbers, "def f(x): return [1.5, float('inf'), -0.0, 10 ** 30, -10 ** 3000, True, None, b'a', {1: {2}}, (3,), frozenset([4]), 'é\\n']") == "1.0 ok");
    CHECK(code.told(lambdas, "def f(g): return g(1)") == "null verifier_failed");
    CHECK(code.told(others, "import sys\nfrom collections import Counter\ndef half(x): return x / 2\ndef count(s): return Counter(s)") == "1.0 ok");
  }

  TEST_CASE("rows without tests, or with an unknown language, are refused by name") {
    const Code code;

    CHECK_THROWS_WITH_AS(code.grade({{"question", "?"}}, "x"), doctest::Contains("found the keys question"), ConfigError);
    CHECK_THROWS_WITH_AS(code.grade({{"tests", "x"}}, "x"), doctest::Contains("\"tests\": expected a list"), ConfigError);
    CHECK_THROWS_WITH_AS(code.grade({{"tests", Json::array()}, {"lang", "cobol"}}, "x"), doctest::Contains("found \"cobol\""), ConfigError);
    CHECK_THROWS_AS(make_reward({"code", "code", 1.0, {{"score", "some"}}}), ConfigError);
  }
}

}  // namespace troupe
