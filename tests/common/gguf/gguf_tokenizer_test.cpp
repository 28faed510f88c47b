#include "common/gguf/gguf_tokenizer.h"

#include <doctest/doctest.h>

#include <filesystem>
#include <string>
#include <vector>

#include "common/base/error.h"
#include "common/base/strict_json.h"
#include "common/tokenizer/tokenizer.h"
#include "tests/common/gguf/gguf_bytes.h"
#include "tests/common/rollout_log/scratch_folder.h"

using troupe::ConfigError;
using troupe::GgufFile;
using troupe::Tokenizer;
using troupe::testing::GgufBytes;
using nlohmann::json;

namespace {

const std::filesystem::path kGolden = std::filesystem::path(TROUPE_TEST_DATA) / "parity/gguf";
constexpr std::uint32_t kU32 = 4, kI32 = 5, kBool = 7, kText = 8, kList = 9;

/// A byte-level tokenizer of three tokens and one merge.
struct Fixture {
  troupe::ScratchFolder folder;
  std::string model = "gpt2", pre = "gpt-2";
  std::vector<std::string> tokens = {"a", "b", "ab"};
  std::vector<std::int32_t> types = {1, 1, 1};
  std::vector<std::string> merges = {"a b"};
  std::uint32_t bos = 0;
  bool add_eos = false;

  troupe::GgufTokenizerFiles read() {
    GgufBytes file;
    const auto texts = [&](const std::string& key, const std::vector<std::string>& list) {
      file.key("tokenizer.ggml." + key, kList).add(kText).add(static_cast<std::uint64_t>(list.size()));
      for (const auto& text : list) file.add(text);
    };
    file.header(0, 7).key("tokenizer.ggml.model", kText).add(model).key("tokenizer.ggml.pre", kText).add(pre);
    texts("tokens", tokens);
    texts("merges", merges);
    file.key("tokenizer.ggml.token_type", kList).add(kI32).add(static_cast<std::uint64_t>(types.size()));
    for (const auto type : types) file.add(type);
    file.key("tokenizer.ggml.bos_token_id", kU32).add(bos);
    file.key("tokenizer.ggml.add_eos_token", kBool).add(static_cast<std::uint8_t>(add_eos));
    troupe::spill(folder / "m.gguf", file.bytes);
    return troupe::gguf_tokenizer(GgufFile(folder / "m.gguf"));
  }
  std::vector<std::int32_t> encode(const std::string& text) { return Tokenizer::from_json(read().tokenizer.dump(), "test").encode(text, true); }
  void check_refused(const char* part_of_message) {
    CHECK_THROWS_WITH_AS(read(), doctest::Contains(part_of_message), ConfigError);
    CHECK_THROWS_WITH_AS(read(), doctest::Contains("m.gguf"), ConfigError);
  }
};

}  // namespace

TEST_SUITE("gguf/gguf_tokenizer") {
  TEST_CASE("byte-level and SentencePiece tokenizers give the ids of Hugging Face tokenizers") {
    const json golden = troupe::read_json_file(kGolden / "tokenizers.json");
    for (const auto& [name, file] : {std::pair("byte_level", "qwen2.gguf"), std::pair("sentence_piece", "sentence_piece.gguf")}) {
      const Tokenizer tokenizer = Tokenizer::from_json(troupe::gguf_tokenizer(GgufFile(kGolden / file)).tokenizer.dump(), file);
      CHECK(golden[name].size() == 4);
      for (const json& row : golden[name]) {
        CAPTURE(row.dump());
        CHECK(tokenizer.encode(row["text"].get<std::string>(), true) == row["ids"].get<std::vector<std::int32_t>>());
      }
    }
  }

  TEST_CASE("special tokens and the chat template go into tokenizer_config.json") {
    const json config = troupe::gguf_tokenizer(GgufFile(kGolden / "qwen2.gguf")).tokenizer_config;
    CHECK(config["bos_token"] == "<|begin|>");
    CHECK(config["eos_token"] == "<|end|>");
    CHECK(config["chat_template"].get<std::string>().starts_with("{% for m in messages %}"));
    CHECK(config["tokenizer_class"] == "PreTrainedTokenizerFast");
    CHECK_FALSE(config.contains("unk_token"));
  }

  TEST_CASE_FIXTURE(Fixture, "each pre-tokenizer cuts digits its own way") {
    tokens = {"1", "11", "1111", "111"};
    types = {1, 1, 1, 1};
    merges = {"1 1", "11 11", "11 1"};
    CHECK(encode("1111") == std::vector<std::int32_t>{2});
    pre = "smollm";
    CHECK(encode("1111") == std::vector<std::int32_t>{0, 0, 0, 0});
    pre = "qwen2";
    CHECK(encode("1111") == std::vector<std::int32_t>{0, 0, 0, 0});
    pre = "llama-bpe";  // BOS before each text, too
    CHECK(encode("1111") == std::vector<std::int32_t>{0, 3, 0});
    pre = "tekken";
    check_refused("tokenizer.ggml.pre\": expected one of deepseek-r1-qwen, default");
  }

  TEST_CASE_FIXTURE(Fixture, "tokens that only fill the embedding up are none of the tokenizer's") {
    tokens.push_back("[PAD3]");
    types.push_back(5);
    CHECK(Tokenizer::from_json(read().tokenizer.dump(), "test").vocabulary_size() == 3);
  }

  TEST_CASE_FIXTURE(Fixture, "what is wrong or not supported is refused by key") {
    model = "t5";
    check_refused("tokenizer.ggml.model\": expected gpt2 or llama, found \"t5\"");
    model = "llama";
    check_refused("key \"tokenizer.ggml.scores\" is missing");
    model = "gpt2";
    bos = 3;
    check_refused("tokenizer.ggml.bos_token_id\": expected an id below the number of tokens, 3, found 3");
    bos = 0;
    add_eos = true;
    check_refused("add_eos_token");
    add_eos = false;
    types.pop_back();
    check_refused("tokenizer.ggml.token_type\": expected as many elements as there are tokens, 3, found 2");
    types.push_back(1);
    tokens[1] = "a";
    check_refused("token \"a\" stands twice");
  }
}
