#include "common/model/architecture.h"

#include <doctest/doctest.h>

#include <string>

#include "common/base/error.h"
#include "tests/common/rollout_log/scratch_folder.h"

using nlohmann::json;
using troupe::Architecture;
using troupe::ConfigError;

namespace {

const json kLlama = json::parse(R"({
  "architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": 100, "hidden_size": 48,
  "intermediate_size": 96, "num_hidden_layers": 3, "num_attention_heads": 6, "num_key_value_heads": 2,
  "max_position_embeddings": 256, "rms_norm_eps": 1e-5, "bos_token_id": 1, "eos_token_id": 2, "hidden_act": "silu",
  "rope_theta": 500000.0, "rope_scaling": null, "tie_word_embeddings": true, "torch_dtype": "float32"})");

struct Fixture {
  troupe::ScratchFolder folder;
  std::filesystem::path path = folder / "";

  Architecture read(const json& changes = json::object()) {
    json config = kLlama;
    config.merge_patch(changes);
    troupe::spill(path / "config.json", config.dump());
    return troupe::read_architecture(path);
  }
  void check_refused(const json& changes, const char* part_of_message) {
    CHECK_THROWS_WITH_AS(read(changes), doctest::Contains(part_of_message), ConfigError);
    CHECK_THROWS_WITH_AS(read(changes), doctest::Contains("config.json"), ConfigError);
  }
};

}  // namespace

TEST_SUITE("model/architecture") {
  TEST_CASE("the tinystories model is read as it stands") {
    const Architecture a = troupe::read_architecture(std::string(TROUPE_TEST_DATA) + "/data/tinystories-656k");
    Architecture expected;
    expected.vocabulary = 2048;
    expected.hidden = 128;
    expected.intermediate = 384;
    expected.layers = 2;
    expected.heads = 8;
    expected.kv_heads = 4;
    expected.head_size = 16;
    expected.max_positions = 512;
    expected.eos_ids = {2};
    expected.bos_id = 1;
    CHECK(a == expected);
  }

  TEST_CASE_FIXTURE(Fixture, "head_dim and the number of key heads follow from others where they are left out") {
    CHECK(read().head_size == 8);
    CHECK(read({{"head_dim", 32}}).head_size == 32);
    CHECK(read({{"head_dim", nullptr}}).head_size == 8);
    CHECK(read().kv_heads == 2);
    CHECK(read({{"num_key_value_heads", nullptr}}).kv_heads == 6);
    CHECK_FALSE(read({{"tie_word_embeddings", nullptr}}).tied_embeddings);
  }

  TEST_CASE_FIXTURE(Fixture, "the rope base is read from the keys of old and new transformers") {
    CHECK(read().rope_theta == 500000.0);
    const json parameters = {{"rope_type", "default"}, {"rope_theta", 7000.0}};
    CHECK(read({{"rope_theta", nullptr}, {"rope_parameters", parameters}}).rope_theta == 7000.0);
    CHECK(read({{"rope_theta", nullptr}}).rope_theta == 10000.0);
  }

  TEST_CASE_FIXTURE(Fixture, "scaled positions are read from either key, under either name of their kind") {
    using Kind = troupe::RopeScaling::Kind;
    const Architecture linear = read({{"rope_scaling", {{"type", "linear"}, {"factor", 2.0}}}});
    CHECK(linear.rope_scaling.kind == Kind::kLinear);
    CHECK(linear.rope_scaling.factor == 2.0);
    CHECK(linear.rope_theta == 500000.0);
    const Architecture yarn = read({{"rope_theta", nullptr}, {"rope_parameters", {{"rope_type", "yarn"}, {"factor", 4}, {"rope_theta", 1000}}}});
    CHECK(yarn.rope_scaling.kind == Kind::kYarn);
    CHECK(yarn.rope_scaling.original_positions == 256.0);
    CHECK(yarn.rope_scaling.attention_factor == doctest::Approx(1.138629436));  // 0.1 ln 4 + 1
    CHECK(yarn.rope_theta == 1000.0);
    const json both = {{"rope_theta", 20.0}, {"rope_scaling", {{"type", "linear"}, {"factor", 2.0}}}, {"rope_parameters", {{"rope_type", "yarn"}, {"rope_theta", 30.0}}}};
    CHECK(read(both).rope_scaling.kind == Kind::kLinear);  // rope_scaling alone
    CHECK(read(both).rope_theta == 20.0);
    CHECK(read({{"rope_scaling", json::object()}, {"rope_parameters", {{"rope_type", "default"}, {"rope_theta", 30.0}}}}).rope_theta == 30.0);
    const json outside = {{"original_max_position_embeddings", 64},
                          {"rope_scaling", {{"type", "yarn"}, {"factor", 2.0}, {"original_max_position_embeddings", 128}}}};
    CHECK(read(outside).rope_scaling.original_positions == 64.0);  // as transformers has it
    CHECK(read({{"rope_parameters", {{"rope_type", "default"}}}}).rope_scaling == troupe::RopeScaling());
  }

  TEST_CASE_FIXTURE(Fixture, "scaling that is unknown, incomplete or impossible is refused by its key") {
    const auto refused = [&](json scaling, const char* part) { check_refused({{"rope_scaling", std::move(scaling)}}, part); };
    refused({{"type", "dynamic"}, {"factor", 2.0}}, "rope_scaling: rope_type: expected default, linear, llama3 or yarn, found \"dynamic\"");
    refused({{"type", "linear"}}, "key \"factor\" is missing");
    refused({{"type", "linear"}, {"factor", 0.0}}, "factor: expected a number above 0");
    refused({{"type", "linear"}, {"factor", "2"}}, "key \"factor\": expected a number");
    refused({{"type", "linear"}, {"factor", 2}, {"partial_rotary_factor", 0.5}}, "partial_rotary_factor");
    json llama3 = {{"rope_type", "llama3"}, {"factor", 8}, {"low_freq_factor", 1}, {"high_freq_factor", 1}, {"original_max_position_embeddings", 64}};
    refused(llama3, "high_freq_factor: expected a number above low_freq_factor");
    llama3["high_freq_factor"] = 4;
    llama3["original_max_position_embeddings"] = 63.5;
    refused(llama3, "original_max_position_embeddings: expected a whole number");
    llama3.erase("low_freq_factor");
    refused(llama3, "key \"low_freq_factor\" is missing");
    refused({{"type", "yarn"}, {"factor", 2}, {"beta_fast", 1}, {"beta_slow", 2}}, "beta_fast");
    refused({{"type", "yarn"}, {"factor", 2}, {"attention_factor", -1}}, "attention_factor");
    check_refused({{"rope_scaling", "linear"}}, "rope_scaling: expected an object");
  }

  TEST_CASE_FIXTURE(Fixture, "Qwen3 has norms of heads, whose size is 128 unless it says otherwise") {
    const Architecture qwen = read({{"model_type", "qwen3"}, {"architectures", {"Qwen3ForCausalLM"}}});
    CHECK(qwen.qk_norm);
    CHECK_FALSE(qwen.qkv_bias);
    CHECK(qwen.head_size == 128);
    CHECK_FALSE(read().qk_norm);
    check_refused({{"model_type", "qwen3"}}, "architectures: expected [\"Qwen3ForCausalLM\"]");
  }

  TEST_CASE_FIXTURE(Fixture, "numbers whose product no memory holds are refused before anything is made of them") {
    check_refused({{"num_hidden_layers", 4097}}, "num_hidden_layers: expected 1 to 4096, found 4097");
    check_refused({{"num_attention_heads", 8192}, {"head_dim", 4096}}, "num_attention_heads * head_dim: expected 1 to 16777216");
  }

  TEST_CASE_FIXTURE(Fixture, "Qwen2 has biases of q, k and v, Llama has none") {
    const Architecture qwen = read({{"model_type", "qwen2"}, {"architectures", {"Qwen2ForCausalLM"}}});
    CHECK(qwen.qkv_bias);
    CHECK(qwen.model_type == "qwen2");
    CHECK_FALSE(read().qkv_bias);
  }

  TEST_CASE_FIXTURE(Fixture, "end-of-text ids are one or a list, and generation_config.json has the last word") {
    CHECK(read().eos_ids == std::vector<std::int32_t>{2});
    CHECK(read({{"eos_token_id", {5, 6}}}).eos_ids == std::vector<std::int32_t>{5, 6});
    CHECK(read({{"eos_token_id", nullptr}}).eos_ids.empty());
    CHECK(read({{"bos_token_id", nullptr}}).bos_id == -1);
    troupe::spill(path / "generation_config.json", R"({"eos_token_id": [7, 2], "bos_token_id": 3})");
    CHECK(read().eos_ids == std::vector<std::int32_t>{7, 2});
    CHECK(read().bos_id == 1);
    CHECK(read({{"bos_token_id", nullptr}}).bos_id == 3);
  }

  TEST_CASE_FIXTURE(Fixture, "what the model cannot do is refused by its key") {
    check_refused({{"model_type", "gpt2"}}, "model_type: expected \"llama\", \"qwen2\" or \"qwen3\", found \"gpt2\"");
    check_refused({{"architectures", {"LlamaForTokenClassification"}}}, "architectures");
    check_refused({{"hidden_act", "gelu"}}, "hidden_act");
    check_refused({{"attention_bias", true}}, "attention_bias");
    check_refused({{"mlp_bias", true}}, "mlp_bias");
    check_refused({{"use_sliding_window", true}}, "use_sliding_window");
    check_refused({{"layer_types", {"full_attention", "sliding_attention"}}}, "layer_types");
    check_refused({{"quantization_config", {{"bits", 4}}}}, "quantization_config");
  }

  TEST_CASE_FIXTURE(Fixture, "missing, mistyped and impossible numbers are refused by their key") {
    check_refused({{"hidden_size", nullptr}}, "key \"hidden_size\" is missing");
    check_refused({{"hidden_size", "48"}}, "key \"hidden_size\": expected an integer");
    check_refused({{"hidden_size", 48.5}}, "expected an integer");
    check_refused({{"vocab_size", 0}}, "vocab_size: expected 1 to 16777216, found 0");
    check_refused({{"vocab_size", 16777217}}, "found 16777217");
    check_refused({{"num_hidden_layers", -1}}, "num_hidden_layers");
    check_refused({{"num_attention_heads", 0}}, "num_attention_heads");
    check_refused({{"num_key_value_heads", 4}},
                  "num_key_value_heads: expected a divisor of num_attention_heads, 6, found 4");
    check_refused({{"head_dim", 7}}, "head_dim: expected an even number");
    check_refused({{"rms_norm_eps", 0}}, "rms_norm_eps");
    check_refused({{"rope_theta", -1}}, "rope_theta");
    check_refused({{"eos_token_id", 100}}, "eos_token_id: expected an id below vocab_size, 100, found 100");
    check_refused({{"bos_token_id", 100}}, "bos_token_id");
    check_refused({{"eos_token_id", -1}}, "eos_token_id");
    troupe::spill(path / "config.json", "{\"model_type\": \"llama\", \"model_type\": \"llama\"}");
    CHECK_THROWS_WITH_AS(troupe::read_architecture(path), doctest::Contains("stands twice"), ConfigError);
    CHECK_THROWS_AS(troupe::read_architecture(path / "nowhere"), ConfigError);
  }

  TEST_CASE_FIXTURE(Fixture, "what is written reads back the same") {
    for (const json& changes :
         {json{{"eos_token_id", {5, 6}}},
          json{{"model_type", "qwen2"}, {"architectures", {"Qwen2ForCausalLM"}}, {"bos_token_id", nullptr}},
          json{{"eos_token_id", nullptr}, {"head_dim", 32}, {"tie_word_embeddings", false}},
          json{{"rope_scaling", {{"type", "linear"}, {"factor", 2.5}}}},
          json{{"rope_scaling", {{"rope_type", "llama3"}, {"factor", 8}, {"low_freq_factor", 1.5}, {"high_freq_factor", 5}}}},
          json{{"rope_scaling", {{"type", "yarn"}, {"factor", 3}, {"beta_fast", 20}, {"beta_slow", 2}, {"truncate", false}}}},
          json{{"model_type", "qwen3"}, {"architectures", {"Qwen3ForCausalLM"}}}}) {
      const Architecture a = read(changes);
      troupe::spill(path / "config.json", troupe::architecture_json(a).dump());
      CHECK(troupe::read_architecture(path) == a);
    }
  }
}
