#include "common/tokenizer/vocabulary_files.h"

#include <doctest/doctest.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "common/base/error.h"
#include "common/base/files.h"
#include "common/base/strict_json.h"
#include "common/tokenizer/tokenizer.h"
#include "tests/common/rollout_log/scratch_folder.h"

namespace fs = std::filesystem;
using nlohmann::json;
using troupe::ConfigError;
using troupe::Tokenizer;
using Ids = std::vector<std::int32_t>;

namespace {

const fs::path kTests = TROUPE_TEST_DATA;

/// tests/data/byte-level in the older form: vocab.json, merges.txt and tokenizer_config.json.
struct Fixture {
  troupe::ScratchFolder scratch;
  fs::path folder = scratch / "";
  json config;

  Fixture() {
    const json tokenizer = troupe::read_json_file(kTests / "data/byte-level/tokenizer.json");
    std::string merges = "#version: 0.2\n";
    for (const json& merge : tokenizer["model"]["merges"]) merges += merge[0].get<std::string>() + " " + merge[1].get<std::string>() + "\n";
    config = {{"tokenizer_class", "Qwen2TokenizerFast"}, {"add_bos_token", true}, {"bos_token", {{"content", "<|begin|>"}}}};
    for (const json& token : tokenizer["added_tokens"]) config["added_tokens_decoder"][std::to_string(token["id"].get<int>())] = token;
    troupe::spill(folder / "vocab.json", tokenizer["model"]["vocab"].dump());
    troupe::spill(folder / "merges.txt", merges);
    write_config();
  }
  void write_config() { troupe::spill(folder / "tokenizer_config.json", config.dump()); }
  Ids encode(const char* text) { return Tokenizer::load(folder).encode(text, false); }
  void check_refused(const char* part_of_message) {
    CHECK_THROWS_WITH_AS(Tokenizer::load(folder), doctest::Contains(part_of_message), ConfigError);
  }
};

}  // namespace

TEST_SUITE("tokenizer/vocabulary_files") {
  TEST_CASE_FIXTURE(Fixture, "vocab.json and merges.txt of a Qwen2 tokenizer tokenize as its tokenizer.json does") {
    const Tokenizer tokenizer = Tokenizer::load(folder);
    const std::string golden = troupe::read_file(kTests / "parity/tokenizer_golden.jsonl");
    int rows = 0;
    for (std::size_t begin = 0; begin < golden.size(); begin = golden.find('\n', begin) + 1) {
      const json row = troupe::parse_json(golden.substr(begin, golden.find('\n', begin) - begin), "golden");
      if (row["tokenizer"] != "byte-level") continue;
      CAPTURE(row.dump());
      const Ids ids = tokenizer.encode(row["text"].get<std::string>(), false);
      CHECK(ids == row["ids"].get<Ids>());
      CHECK(tokenizer.encode(row["text"].get<std::string>(), true) == row["ids_with_special"].get<Ids>());
      CHECK(tokenizer.decode(ids, true) == row["decoded_without_special"].get<std::string>());
      ++rows;
    }
    CHECK(rows == 67);
  }

  TEST_CASE_FIXTURE(Fixture, "the class says how text is cut; without one the model's type does") {
    constexpr const char* kAccent = "e\u0301";  // one character in normal form C
    const Ids as_qwen = encode(kAccent);
    CHECK(as_qwen.size() == 2);
    config["tokenizer_class"] = "GPT2Tokenizer";
    write_config();
    const Ids as_gpt2 = encode(kAccent);
    CHECK(as_gpt2.size() == 3);
    config.erase("tokenizer_class");
    write_config();
    CHECK(encode(kAccent) == as_gpt2);
    troupe::spill(folder / "config.json", R"({"model_type": "qwen2"})");
    CHECK(encode(kAccent) == as_qwen);
    CHECK(json::parse(troupe::tokenizer_json_of(folder))["normalizer"]["type"] == "NFC");
  }

  TEST_CASE_FIXTURE(Fixture, "added_tokens.json and named special tokens are found in texts") {
    config = {{"eos_token", "he"}, {"bos_token", nullptr}};
    write_config();
    const json vocabulary = troupe::read_json_file(folder / "vocab.json");
    troupe::spill(folder / "added_tokens.json", R"({"<new>": 400})");
    const Tokenizer tokenizer = Tokenizer::load(folder);
    CHECK(tokenizer.encode("<new>", false) == Ids{400});
    CHECK(tokenizer.decode(Ids{400}, true) == "<new>");
    const Ids ids = tokenizer.encode("xhe", false);
    CHECK(ids.back() == vocabulary.at("he").get<std::int32_t>());
    CHECK(tokenizer.decode(ids, true) == "x");
  }

  TEST_CASE_FIXTURE(Fixture, "a tokenizer.json comes first") {
    troupe::spill(folder / "tokenizer.json", troupe::character_tokenizer_json());
    CHECK(encode("ab").size() == 2);
    CHECK(troupe::tokenizer_json_of(folder) == troupe::character_tokenizer_json());
  }

  TEST_CASE_FIXTURE(Fixture, "files that are missing or wrong are refused by name") {
    config["tokenizer_class"] = "LlamaTokenizer";
    write_config();
    check_refused("tokenizer_config.json: tokenizer_class: expected Qwen2Tokenizer or GPT2Tokenizer");
    config["tokenizer_class"] = "Qwen2Tokenizer";
    config["bos_token"] = "<none>";
    write_config();
    check_refused("add_bos_token");
    config["added_tokens_decoder"]["x1"] = {{"content", "<x>"}};
    write_config();
    check_refused("added_tokens_decoder: expected token ids as keys, found \"x1\"");
    config.erase("added_tokens_decoder");
    config.erase("add_bos_token");
    write_config();
    troupe::spill(folder / "merges.txt", "#version: 0.2\nt h\nth\n");
    check_refused("merges.txt: line 3: expected two tokens with a space between, found \"th\"");
    troupe::spill(folder / "merges.txt", "t \xff\n");
    check_refused("merges.txt: not UTF-8");
    fs::remove(folder / "merges.txt");
    check_refused("merges.txt");
    troupe::spill(folder / "vocab.json", "[]");
    check_refused("vocab.json: expected an object, found array");
    fs::remove(folder / "vocab.json");
    check_refused("tokenizer.json");
  }

  TEST_CASE_FIXTURE(Fixture, "ids far beyond the number of tokens are refused before memory is set aside for them") {
    troupe::spill(folder / "vocab.json", R"({"a": 16777215})");
    troupe::spill(folder / "merges.txt", "");
    check_refused("token \"a\" has id 16777215, expected 0 to 262144");
  }
}
