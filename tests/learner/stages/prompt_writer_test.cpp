#include "learner/stages/prompt_writer.h"

#include <doctest/doctest.h>

#include "common/base/error.h"
#include "tests/common/rollout_log/scratch_folder.h"

using namespace troupe;
using Ids = std::vector<std::int32_t>;

namespace {

/// The tokenizer of characters, that adds <unk> at the front of a text as others add their BOS.
std::string tokenizer_json() {
  nlohmann::json json = nlohmann::json::parse(character_tokenizer_json());
  const Tokenizer characters = Tokenizer::from_json(json.dump(), "characters");
  json["post_processor"] = {{"type", "TemplateProcessing"},
                            {"single", {{{"SpecialToken", {{"id", "<unk>"}, {"type_id", 0}}}}, {{"Sequence", {{"id", "A"}, {"type_id", 0}}}}}},
                            {"pair", nlohmann::json::array()},
                            {"special_tokens", {{"<unk>", {{"id", "<unk>"}, {"ids", {characters.id_of("<unk>")}}, {"tokens", {"<unk>"}}}}}}};
  return json.dump();
}

/// A folder with a config.json (end-of-text token 0), and a tokenizer.
struct Model {
  Model() : tokenizer(Tokenizer::from_json(tokenizer_json(), "characters")) {
    spill(folder / "config.json", R"({"model_type": "llama", "vocab_size": 112, "hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1,
      "num_attention_heads": 2, "num_key_value_heads": 2, "max_position_embeddings": 64, "rms_norm_eps": 1e-5, "rope_theta": 10000.0,
      "tie_word_embeddings": true, "hidden_act": "silu", "bos_token_id": null, "eos_token_id": 0})");
  }
  PromptWriter writer(const std::string& prompt) const {
    DataConfig data;
    data.prompt = prompt;
    return {data, tokenizer, folder / ""};
  }
  std::string text(const Ids& ids) const { return tokenizer.decode(ids, false); }

  ScratchFolder folder;
  Tokenizer tokenizer;
};

Row row(const std::string& text) { return {nlohmann::json::parse(text), "f.jsonl:3", text}; }

const Row kQuestion = row(R"({"question": "1+1"})");
const Row kConversation = row(R"({"messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "u"}]})");
const Row kAnswered = row(R"({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "bc"}, {"role": "user", "content": "d"},
                                           {"role": "assistant", "content": "e"}]})");
const char* const kOwn = "{% for m in messages %}[{{ m.role[0] }}:{{ m.content }}]{% endfor %}{% if add_generation_prompt %}{{ tools or '' }}[a:{% endif %}";

}  // namespace

TEST_SUITE("stages/prompt_writer") {
  TEST_CASE("auto leaves texts as they are and puts messages through the model's template") {
    const Model model;
    spill(model.folder / "chat_template.jinja", kOwn);
    CHECK(model.text(model.writer("auto").prompt_ids(kQuestion)) == "<unk>1+1");
    CHECK(model.text(model.writer("auto").prompt_ids(kConversation)) == "[s:s][u:u][a:");
    CHECK(model.text(model.writer("model").prompt_ids(kQuestion)) == "[u:1+1][a:");
    CHECK(model.text(model.writer("auto").prompt_ids(row(R"({"messages": [{"role": "user", "content": "u"}], "tools": [{"z": 1, "a": 2}]})"))) ==
          "[u:u][{'z': 1, 'a': 2}][a:");
  }

  TEST_CASE("built-in prompts go around texts and messages alike") {
    const Model model;
    CHECK(model.text(model.writer("plain").prompt_ids(kQuestion)) == "<unk>1+1");
    CHECK(model.text(model.writer("plain").prompt_ids(kConversation)) == "<unk>s\nu");
    CHECK(model.text(model.writer("chatml").prompt_ids(kQuestion)) == "<|im_start|>user\n1+1<|im_end|>\n<|im_start|>assistant\n");
    CHECK(model.text(model.writer("r1_zero").prompt_ids(kQuestion)).ends_with("</answer>. User: 1+1. Assistant:"));
    CHECK(model.text(model.writer("r1_zero").prompt_ids(kQuestion)).starts_with("<unk>A conversation"));
    const Row history = row(R"({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}, {"role": "user", "content": "c"}]})");
    CHECK(model.text(model.writer("plain").prompt_ids(history)) == "<unk>ab<|end|>c");
  }

  TEST_CASE("a model without a template is refused where rows want it, naming the file and the built-in prompts") {
    const Model model;
    const PromptWriter writer = model.writer("auto");
    CHECK_THROWS_WITH_AS(writer.prompt_ids(kConversation), doctest::Contains("f.jsonl:3: no chat template: expected the file "), ConfigError);
    CHECK_THROWS_WITH_AS(writer.prompt_ids(kConversation), doctest::Contains("plain, r1_zero, chatml, llama3, r1 (data.prompt)"), ConfigError);
    CHECK_THROWS_WITH_AS(model.writer("model"), doctest::Contains("chat_template.jinja"), ConfigError);
    CHECK_THROWS_WITH_AS(model.writer("plain").prompt_ids(kAnswered), doctest::Contains("the last one is the assistant's"), ConfigError);
  }

  TEST_CASE("of an SFT conversation the assistant's turns are trained, with the end-of-text token where the template writes none") {
    const Model model;
    const auto trained = [&](const SftExample& example) {
      Ids ids;
      for (std::size_t i = 0; i < example.completion.size(); ++i) {
        if (example.trained.at(i) != 0) ids.push_back(example.completion[i]);
      }
      return model.text(ids);
    };
    const SftExample plain = model.writer("plain").example(kAnswered);
    CHECK(model.text(plain.prompt) == "<unk>a");
    CHECK(model.text(plain.completion) == "bc<|end|>de<|end|>");
    CHECK(trained(plain) == "bc<|end|>e<|end|>");
    spill(model.folder / "chat_template.jinja", kOwn);
    const SftExample own = model.writer("auto").example(row(R"({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]})"));
    CHECK(model.text(own.prompt) == "[u:a][a:");
    CHECK(trained(own) == "b]");
    CHECK(trained(model.writer("auto").example(kAnswered)) == "bc]e]");
    spill(model.folder / "chat_template.jinja", "{{ messages | length }}");
    CHECK_THROWS_WITH_AS(model.writer("auto").example(kAnswered), doctest::Contains("f.jsonl:3: messages[1]: the template does not write"), ConfigError);
    const SftExample chatml = model.writer("chatml").example(kAnswered);
    CHECK(trained(chatml) == "bc<|im_end|>e<|im_end|>");
  }

  TEST_CASE("an SFT pair is its prompt as in training, its completion and the end-of-text token") {
    const Model model;
    const Row pair = row(R"({"prompt": "p?", "completion": "c"})");
    const SftExample plain = model.writer("auto").example(pair);
    CHECK(model.text(plain.prompt) == "<unk>p?");
    CHECK(model.text(plain.completion) == "c<|end|>");
    CHECK(plain.trained.empty());
    CHECK(model.text(model.writer("r1_zero").example(pair).prompt).ends_with("User: p? Assistant:"));
  }

  TEST_CASE("a preference's two answers follow one question, and are trained alone") {
    const Model model;
    spill(model.folder / "chat_template.jinja", kOwn);
    const PromptWriter writer = model.writer("auto");
    const auto text_of = [&](const SftExample& example) {
      std::string text = model.text(example.prompt) + ">";
      for (std::size_t i = 0; i < example.completion.size(); ++i) {
        const bool trained = example.trained.empty() || example.trained[i] != 0;
        text += (trained ? "" : "-") + model.text({example.completion[i]});
      }
      return text;
    };
    const auto texts_of = [&](const std::string& json) {
      std::vector<std::string> texts;
      for (const SftExample& example : writer.pair(row(json))) texts.push_back(text_of(example));
      return texts;
    };
    using Texts = std::vector<std::string>;

    CHECK(texts_of(R"({"prompt": "q", "chosen": "ab", "rejected": "c"})") == Texts{"<unk>q>ab<|end|>", "<unk>q>c<|end|>"});
    CHECK(texts_of(R"({"messages": [{"role": "user", "content": "u"}], "chosen": "x", "rejected": "yz"})") ==
          Texts{"[u:u][a:>x]", "[u:u][a:>yz]"});
    // The assistant's earlier turns are the same for both: they are read.
    CHECK(
        texts_of(
            R"({"messages": [{"role": "user", "content": "u"}, {"role": "assistant", "content": "v"}, {"role": "user", "content": "w"}],
                       "chosen": [{"role": "assistant", "content": "x"}], "rejected": {"role": "assistant", "content": "y"}})") ==
        Texts{"[u:u][a:v][u:w][a:>x]", "[u:u][a:v][u:w][a:>y]"});
    CHECK_THROWS_WITH_AS(writer.pair(row(R"({"prompt": "q", "chosen": "a"})")),
                         "f.jsonl:3: expected the key \"rejected\", found chosen, prompt", ConfigError);
    CHECK_THROWS_WITH_AS(
        writer.pair(row(R"({"prompt": "q", "chosen": "a", "rejected": [{"role": "user", "content": "b"}]})")),
        "f.jsonl:3: \"rejected\": expected a text or one message of the assistant, found [{\"role\":\"user\",\"content\":\"b\"}]",
        ConfigError);
    CHECK_THROWS_AS(writer.pair(row(R"({"chosen": "a", "rejected": "b"})")), ConfigError);
  }
}
