#include "common/data/rows.h"

#include <doctest/doctest.h>

#include <map>
#include <set>
#include <string>
#include <vector>

#include "common/base/error.h"
#include "tests/common/rollout_log/scratch_folder.h"

using nlohmann::json;
using troupe::ConfigError;
using troupe::open_rows;
using troupe::Row;

namespace {

struct Fixture {
  troupe::ScratchFolder folder;

  std::string file(const std::string& name, const std::string& text) {
    troupe::spill(folder / name, text);
    return (folder / name).string();
  }
  /// A file of `count` rows {"n": 0}, {"n": 1} …
  std::string numbered(const std::string& name, int count) {
    std::string text;
    for (int i = 0; i < count; ++i) text += json{{"n", i}, {"file", name}}.dump() + "\n";
    return file(name, text);
  }
  void check_refused(const std::string& text, const std::string& part_of_message) {
    const std::string path = file("bad.jsonl", text);
    CHECK_THROWS_WITH_AS(open_rows(path, 1), doctest::Contains((path + part_of_message).c_str()), ConfigError);
  }
};

std::vector<int> numbers(const troupe::RowSource& rows, std::uint64_t from, std::uint64_t count) {
  std::vector<int> result;
  for (std::uint64_t i = from; i < from + count; ++i) result.push_back(rows.at(i).json["n"]);
  return result;
}

Row row(const char* text) { return {json::parse(text), "f.jsonl:3"}; }

}  // namespace

TEST_SUITE("data/rows") {
  TEST_CASE_FIXTURE(Fixture, "rows come in the order of the file with their places") {
    const auto rows = open_rows(file("a.jsonl", "{\"n\":1}\n{\"n\":2}\n"), 1);
    CHECK(rows->size() == 2);
    CHECK(rows->in_order(1).json == json{{"n", 2}});
    CHECK(rows->in_order(1).where == (folder / "a.jsonl").string() + ":2");
  }

  TEST_CASE_FIXTURE(Fixture,
                    "a byte-order mark, CRLF, a missing last newline and empty lines at the end are accepted") {
    const auto rows = open_rows(file("a.jsonl", "\xEF\xBB\xBF{\"n\":1}\r\n{\"n\":2}\r\n\r\n \n"), 1);
    CHECK(rows->size() == 2);
    CHECK(rows->in_order(1).json["n"] == 2);
    CHECK(open_rows(file("b.jsonl", "{\"n\":1}\n{\"n\":2}"), 1)->size() == 2);
  }

  TEST_CASE_FIXTURE(Fixture, "a bad row is refused by file and number") {
    check_refused("", ": the file has no rows");
    check_refused("\n \r\n", ": the file has no rows");
    check_refused("{\"n\":1}\n{\"n\":\n", ":2: not valid JSON");
    check_refused("{\"n\":1}\n\n{\"n\":2}\n", ":2: expected a JSON object, found an empty line");
    check_refused("{\"n\":1}\n[1]\n", ":2: expected a JSON object, found array");
    check_refused("{\"n\":1}\n{\"s\":\"\xFF\"}\n", ":2: not valid JSON");
    check_refused("{\"n\":1,\"n\":2}\n", ":1: key \"n\" stands twice");
    CHECK_THROWS_WITH_AS(open_rows((folder / "absent.jsonl").string(), 1), doctest::Contains("absent.jsonl"),
                         ConfigError);
    CHECK_THROWS_WITH_AS(open_rows((folder / "").string(), 1), doctest::Contains("found a folder"), ConfigError);
  }

  TEST_CASE_FIXTURE(Fixture, "an epoch has every row once, each epoch in another order, all of it by the seed") {
    const std::string path = numbered("a.jsonl", 37);
    const auto rows = open_rows(path, 5);
    std::set<std::vector<int>> orders;
    for (std::uint64_t epoch = 0; epoch < 8; ++epoch) {
      const auto order = numbers(*rows, epoch * 37, 37);
      CHECK(std::set<int>(order.begin(), order.end()).size() == 37);
      orders.insert(order);
    }
    CHECK(orders.size() == 8);
    CHECK(numbers(*open_rows(path, 5), 37, 37) == numbers(*rows, 37, 37));
    CHECK(numbers(*open_rows(path, 6), 0, 37) != numbers(*rows, 0, 37));
  }

  TEST_CASE_FIXTURE(Fixture, "a mixture keeps its weights in every 1,024 numbers and every part's own epochs") {
    const std::string spec = numbered("a", 10) + ":0.75," + numbered("b", 300) + ":0.25";
    const auto rows = open_rows(spec, 5);
    CHECK(rows->size() == 310);
    CHECK(rows->in_order(9).json["file"] == "a");
    CHECK(rows->in_order(10).json["file"] == "b");
    CHECK(rows->in_order(309).json["n"] == 299);
    std::map<int, int> from_b;
    for (std::uint64_t block = 0; block < 3; ++block) {
      std::map<std::string, int> count;
      for (std::uint64_t i = 0; i < 1024; ++i) {
        const Row row = rows->at(block * 1024 + i);
        ++count[row.json["file"]];
        if (row.json["file"] == "b") ++from_b[row.json["n"]];
      }
      CHECK(count["a"] == 768);
      CHECK(count["b"] == 256);
      if (block == 0) CHECK(from_b.size() == 256);  // less than an epoch: none twice
      if (block == 1) CHECK(from_b.size() == 300);  // 512 draws: its first epoch is complete
    }
    CHECK(numbers(*open_rows(spec, 5), 1000, 100) == numbers(*rows, 1000, 100));
    CHECK(numbers(*open_rows(spec, 6), 1000, 100) != numbers(*rows, 1000, 100));
  }

  TEST_CASE_FIXTURE(Fixture, "a mixture's weights may be left out by all or none, and are above 0") {
    const std::string a = numbered("a", 2);
    const std::string b = numbered("b", 2);
    int from_a = 0;
    const auto rows = open_rows(a + ", " + b, 5);
    for (std::uint64_t i = 0; i < 1024; ++i) from_a += rows->at(i).json["file"] == "a";
    CHECK(from_a == 512);
    CHECK_THROWS_WITH_AS(open_rows(a + ":0.5," + b, 5),
                         doctest::Contains("some files have a weight and some have none"), ConfigError);
    CHECK_THROWS_WITH_AS(open_rows(a + ":0," + b + ":1", 5), doctest::Contains("the weight 0 is not above 0"),
                         ConfigError);
    CHECK_THROWS_WITH_AS(open_rows(a + ":1e-9," + b + ":1", 5), doctest::Contains("below a thousandth"), ConfigError);
    CHECK_THROWS_WITH_AS(open_rows(a + ",,", 5), doctest::Contains("a file name is empty"), ConfigError);
    CHECK(open_rows(a + ":0.5", 5)->size() == 2);
    CHECK(open_rows("task:addition2/train:0.5," + a + ":0.5", 5)->size() == 4098);
  }

  TEST_CASE("the question stands under the key that is asked for, or the first known one") {
    CHECK(troupe::question_of(row(R"({"x": "a", "question": "b"})"), "x") == "a");
    CHECK(troupe::question_of(row(R"({"prompt": "p", "problem": "m", "question": "q"})"), "") == "q");
    CHECK(troupe::question_of(row(R"({"prompt": "p", "problem": "m"})"), "") == "m");
    CHECK(troupe::question_of(row(R"({"prompt": "p", "messages": []})"), "") == "p");
    const Row chat = row(R"({"messages": [{"role": "user", "content": "1"}, {"role": "assistant", "content": "2"},
                                          {"role": "user", "content": "3"}, {"role": "assistant", "content": "4"}]})");
    CHECK(troupe::question_of(chat, "") == "3");
    CHECK_THROWS_WITH_AS(troupe::question_of(row(R"({"a": 1, "b": 2})"), ""),
                         "f.jsonl:3: expected the key question, problem, prompt or messages, found a, b", ConfigError);
    CHECK_THROWS_WITH_AS(troupe::question_of(row(R"({"a": 1})"), "x"), "f.jsonl:3: expected the key \"x\", found a",
                         ConfigError);
    CHECK_THROWS_WITH_AS(troupe::question_of(row(R"({"question": 1})"), ""),
                         "f.jsonl:3: \"question\": expected a string, found number", ConfigError);
    CHECK_THROWS_WITH_AS(troupe::question_of(row(R"({"messages": [{"role": "system", "content": "x"}]})"), ""),
                         doctest::Contains("none with role \"user\""), ConfigError);
    CHECK_THROWS_AS(troupe::question_of(row(R"({"messages": {}})"), ""), ConfigError);
    CHECK_THROWS_AS(troupe::question_of(row(R"({"messages": [{"role": "user"}]})"), ""), ConfigError);
  }

  TEST_CASE("the gold is the answer behind the last #### without commas, or the whole text") {
    CHECK(troupe::gold_of(json{{"gold", "7"}, {"answer", "8"}}) == "7");
    CHECK(troupe::gold_of(json{{"answer", "1 + 1 = <<1+1=2>>2\n#### 1,234 "}}) == "1234");
    CHECK(troupe::gold_of(json{{"answer", "#### 1\n#### -2"}}) == "-2");
    CHECK(troupe::gold_of(json{{"answer", "x, y"}}) == "x, y");
    CHECK(troupe::gold_of(json{{"answer", 12}}) == "12");
    CHECK(troupe::gold_of(json{{"question", "x"}}) == "");
    CHECK_THROWS_AS(troupe::gold_of(json{{"answer", {1, 2}}}), ConfigError);
  }

  TEST_CASE("GSM8K's rows give their questions and golds") {
    const auto rows = open_rows(std::string(TROUPE_TEST_DATA) + "/data/gsm8k/train.jsonl", 1);
    CHECK(rows->size() == 64);
    CHECK(troupe::question_of(rows->in_order(0), "").starts_with("Natalia sold clips"));
    CHECK(troupe::gold_of(rows->in_order(0).json) == "72");
    for (std::uint64_t i = 0; i < rows->size(); ++i) {
      CHECK(troupe::gold_of(rows->in_order(i).json).find_first_not_of("0123456789.-") == std::string::npos);
    }
  }

  TEST_CASE("a row asks with a conversation where its question is a list, whose keys keep the line's order") {
    const troupe::ScratchFolder scratch;
    troupe::spill(scratch / "f.jsonl", "{\"messages\": [{\"role\": \"user\", \"content\": \"1\"}], \"tools\": [{\"z\": 1, \"a\": 2}], \"x\": [{\"role\": \"user\", \"a\": 0, \"content\": \"2\"}]}\n"
                                       "{\"question\": \"q\", \"messages\": []}\n");
    const auto rows = troupe::open_rows((scratch / "f.jsonl").string(), 1);
    const Row chat = rows->in_order(0);
    CHECK(troupe::messages_of(chat, "").value().dump() == R"([{"role":"user","content":"1"}])");
    CHECK(troupe::messages_of(chat, "x").value().dump() == R"([{"role":"user","a":0,"content":"2"}])");
    CHECK(troupe::question_of(chat, "x") == "2");
    CHECK(troupe::in_line_order(chat, "tools").dump() == R"([{"z":1,"a":2}])");
    CHECK(troupe::in_line_order(chat, "none").is_null());
    CHECK_FALSE(troupe::messages_of(rows->in_order(1), ""));
    CHECK(troupe::messages_of(rows->in_order(1), "messages").value().empty());
    CHECK(troupe::in_line_order(row(R"({"b": 1})"), "b") == 1);
    CHECK_THROWS_WITH_AS(troupe::messages_of(row(R"({"a": 1})"), ""), "f.jsonl:3: expected the key question, problem, prompt or messages, found a", ConfigError);
  }

  TEST_CASE("an SFT row has a prompt and a completion") {
    CHECK(troupe::sft_pair_of(row(R"({"prompt": "p", "completion": "c"})")) ==
          std::pair<std::string, std::string>("p", "c"));
    CHECK_THROWS_WITH_AS(troupe::sft_pair_of(row(R"({"prompt": "p"})")),
                         "f.jsonl:3: expected the key \"completion\", found prompt", ConfigError);
  }
}
