#include "common/model/checkpoint_io.h"

#include <ATen/Functions.h>
#include <doctest/doctest.h>

#include <filesystem>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "common/base/error.h"
#include "common/base/strict_json.h"
#include "common/model/safetensors.h"
#include "tests/common/rollout_log/scratch_folder.h"

namespace fs = std::filesystem;
using troupe::ConfigError;
using troupe::load_parameters;
using troupe::Parameters;

namespace {

const fs::path kTinystories = fs::path(TROUPE_TEST_DATA) / "data/tinystories-656k";
const std::string kEmbedding = "model.embed_tokens.weight";
const std::string kHead = "lm_head.weight";
const std::string kNorm = "model.norm.weight";

using NamedTensors = std::vector<std::pair<std::string, at::Tensor>>;

/// A folder with a model of one layer, 1 to 2 in every tensor; the test changes the tensors before it writes them.
struct Fixture {
  troupe::ScratchFolder scratch;
  fs::path folder = scratch / "";
  troupe::Architecture architecture;
  NamedTensors tensors;

  Fixture() { prepare(true); }
  void prepare(bool tied) {
    architecture.vocabulary = 10;
    architecture.hidden = 8;
    architecture.intermediate = 12;
    architecture.layers = 1;
    architecture.heads = 2;
    architecture.kv_heads = 1;
    architecture.head_size = 4;
    architecture.max_positions = 32;
    architecture.tied_embeddings = tied;
    troupe::spill(folder / "config.json", troupe::architecture_json(architecture).dump());
    tensors.clear();
    for (const auto& spec : troupe::ParameterLayout(architecture).tensors) {
      tensors.emplace_back(spec.name, at::linspace(1, 2, spec.numel).reshape(spec.shape).contiguous());
    }
  }
  at::Tensor& tensor(const std::string& name) {
    for (auto& [key, value] : tensors) {
      if (key == name) return value;
    }
    throw std::out_of_range(name);
  }
  void remove(const std::string& name) {
    std::erase_if(tensors, [&](const auto& entry) { return entry.first == name; });
  }
  void write(const std::string& file = "model.safetensors") { troupe::write_safetensors(folder / file, tensors); }
  void check_refused(const char* part_of_message) {
    CHECK_THROWS_WITH_AS(load_parameters(folder, at::kFloat), doctest::Contains(part_of_message), ConfigError);
    CHECK_THROWS_WITH_AS(load_parameters(folder, at::kFloat), doctest::Contains(folder.parent_path().c_str()),
                         ConfigError);
  }
};

}  // namespace

TEST_SUITE("model/checkpoint_io") {
  TEST_CASE("the tinystories model's embedding comes from lm_head.weight, the only name that its file has") {
    const Parameters parameters = load_parameters(kTinystories, at::kFloat);
    const auto stored = troupe::read_safetensors(kTinystories / "model.safetensors");
    CHECK(at::equal(parameters[kEmbedding], stored.at(kHead)));
    for (const auto& spec : parameters.layout().tensors) {
      if (spec.name != kEmbedding) CHECK(at::equal(parameters[spec.name], stored.at(spec.name)));
    }
  }

  TEST_CASE_FIXTURE(Fixture, "tied embeddings load under either name, or both where they are equal") {
    write();
    CHECK(at::equal(load_parameters(folder, at::kFloat)[kEmbedding], tensor(kEmbedding)));
    tensors.emplace_back(kHead, tensor(kEmbedding).clone());
    write();
    CHECK(at::equal(load_parameters(folder, at::kFloat)[kEmbedding], tensor(kEmbedding)));
    tensor(kHead)[0][0] = 9;
    write();
    check_refused("lm_head.weight and model.embed_tokens.weight differ");
  }

  TEST_CASE_FIXTURE(Fixture, "an untied head is a tensor of its own and may not be missing") {
    prepare(false);
    write();
    CHECK(at::equal(load_parameters(folder, at::kFloat)[kHead], tensor(kHead)));
    remove(kHead);
    write();
    check_refused("tensor \"lm_head.weight\" of shape [10, 8] is missing");
  }

  TEST_CASE_FIXTURE(Fixture, "half precision files load as the dtype that is asked for") {
    for (auto& [name, value] : tensors) value = value.to(name == kNorm ? at::kHalf : at::kBFloat16);
    write();
    const Parameters parameters = load_parameters(folder, at::kFloat);
    CHECK((parameters.flat().scalar_type() == at::kFloat));
    CHECK(at::equal(parameters[kEmbedding], tensor(kEmbedding).to(at::kFloat)));
    CHECK(at::equal(parameters[kNorm], tensor(kNorm).to(at::kFloat)));
    CHECK(at::equal(load_parameters(folder, at::kBFloat16)[kEmbedding], tensor(kEmbedding)));
  }

  TEST_CASE_FIXTURE(Fixture, "missing, extra, misshapen and mistyped tensors are refused by name") {
    const at::Tensor norm = tensor(kNorm);
    tensor(kNorm) = at::ones({9});
    write();
    check_refused("tensor \"model.norm.weight\": expected shape [8], found [9]");
    tensor(kNorm) = at::ones({8}, at::kInt);
    write();
    check_refused("tensor \"model.norm.weight\": expected dtype F32, BF16 or F16, found Int");
    remove(kNorm);
    write();
    check_refused("tensor \"model.norm.weight\" of shape [8] is missing");
    tensors.emplace_back(kNorm, norm);
    tensors.emplace_back("model.layers.1.input_layernorm.weight", norm);
    write();
    check_refused("tensor \"model.layers.1.input_layernorm.weight\" of shape [8] is no part of the model");
  }

  TEST_CASE_FIXTURE(Fixture, "the rotary frequencies that old files hold are left alone") {
    tensors.emplace_back("model.layers.0.self_attn.rotary_emb.inv_freq", at::ones({2}));
    write();
    CHECK(at::equal(load_parameters(folder, at::kFloat)[kNorm], tensor(kNorm)));
  }

  TEST_CASE_FIXTURE(Fixture, "shards are put together by their index, which must be true") {
    nlohmann::json places;
    for (std::size_t i = 0; i < tensors.size(); ++i) {
      const std::string file = "model-0000" + std::to_string(i % 2 + 1) + "-of-00002.safetensors";
      places[tensors[i].first] = file;
    }
    for (const char* file : {"model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"}) {
      NamedTensors part;
      for (const auto& entry : tensors) {
        if (places[entry.first] == file) part.push_back(entry);
      }
      troupe::write_safetensors(folder / file, part);
    }
    const auto write_index = [&] {
      troupe::spill(folder / "model.safetensors.index.json", nlohmann::json{{"weight_map", places}}.dump());
    };
    write_index();
    const Parameters parameters = load_parameters(folder, at::kFloat);
    for (const auto& [name, value] : tensors) CHECK(at::equal(parameters[name], value));

    places["model.absent.weight"] = "model-00001-of-00002.safetensors";
    write_index();
    check_refused("tensor \"model.absent.weight\" is missing, although");
    places.erase("model.absent.weight");
    places[kNorm] = "../model-00001-of-00002.safetensors";
    write_index();
    check_refused("\"../model-00001-of-00002.safetensors\" is not a file name");
    places[kNorm] = "model-00003-of-00002.safetensors";
    write_index();
    check_refused("model-00003-of-00002.safetensors");
  }

  TEST_CASE_FIXTURE(Fixture, "pickled weights are refused with the way to safetensors") {
    check_refused("neither model.safetensors nor model.safetensors.index.json");
    troupe::spill(folder / "pytorch_model.bin", "\x80\x02.");
    check_refused("pytorch_model.bin: pickled weights can run code");
    check_refused("safe_serialization=True");
  }

  TEST_CASE_FIXTURE(Fixture,
                    "an exported model loads as the same tensors, tied ones under the embedding's name alone") {
    const fs::path out = folder / "hf";
    for (const auto dtype : {at::kFloat, at::kBFloat16}) {
      const Parameters parameters = load_parameters(kTinystories, dtype);
      troupe::save_hugging_face(parameters, kTinystories, out);
      const Parameters again = load_parameters(out, dtype);
      CHECK(at::equal(again.flat(), parameters.flat()));
      CHECK(again.architecture() == parameters.architecture());
      CHECK(troupe::read_safetensors(out / "model.safetensors").count(kHead) == 0);
      const auto config = troupe::read_json_file(out / "config.json");
      CHECK(config["dtype"] == (dtype == at::kFloat ? "float32" : "bfloat16"));
    }
    CHECK(troupe::slurp(out / "tokenizer.json") == troupe::slurp(kTinystories / "tokenizer.json"));
    CHECK(troupe::slurp(out / "tokenizer_config.json") == troupe::slurp(kTinystories / "tokenizer_config.json"));
  }

  TEST_CASE_FIXTURE(Fixture, "an export of each family has the tensors and the configuration that transformers wrote") {
    // What transformers has by default, or reads in one of two places.
    const std::set<std::string> left_out = {"dtype", "layer_types", "max_window_layers", "pretraining_tp", "transformers_version"};
    int families = 0;
    for (const auto& entry : fs::directory_iterator(fs::path(TROUPE_TEST_DATA) / "parity/families")) {
      const std::string family = entry.path().filename();
      CAPTURE(family);
      const fs::path out = folder / family;
      troupe::save_hugging_face(load_parameters(entry.path(), at::kFloat), kTinystories, out);
      auto written = std::map<std::string, at::Tensor>();
      for (const auto& file : fs::directory_iterator(entry.path())) {  // one, or several shards
        if (file.path().filename().string().starts_with("model") && file.path().extension() == ".safetensors") {
          written.merge(troupe::read_safetensors(file.path()));
        }
      }
      const auto exported = troupe::read_safetensors(out / "model.safetensors");
      CHECK(exported.size() == written.size());
      for (const auto& [name, tensor] : written) {
        CAPTURE(name);
        REQUIRE(exported.contains(name));
        REQUIRE((exported.at(name).scalar_type() == at::kFloat));
        CHECK(at::equal(exported.at(name), tensor.to(at::kFloat)));
      }
      const auto config = troupe::read_json_file(entry.path() / "config.json"), exported_config = troupe::read_json_file(out / "config.json");
      for (const auto& [key, value] : config.items()) {
        CAPTURE(key);
        if (left_out.contains(key) || value.is_null()) continue;
        auto with_it = exported_config;
        with_it.merge_patch({{key, value}});  // of an object its keys: the export also spells out what is left to default
        const bool same = with_it == exported_config;
        CHECK(same);
      }
      const bool fp32 = exported_config["dtype"] == "float32";
      CHECK(fp32);
      ++families;
    }
    CHECK(families == 10);
  }

  TEST_CASE_FIXTURE(Fixture, "a tokenizer without a config gets one that takes its file as it stands") {
    const fs::path tokenizer = scratch / "tokenizer";
    fs::create_directory(tokenizer);
    architecture.eos_ids = {2};
    CHECK_THROWS_WITH_AS(troupe::save_hugging_face(Parameters(architecture, at::kFloat), tokenizer, folder / "hf"),
                         doctest::Contains("tokenizer.json is missing"), ConfigError);
    troupe::spill(tokenizer / "tokenizer.json", R"({"added_tokens": [{"id": 2, "content": "<end>"}]})");
    troupe::save_hugging_face(Parameters(architecture, at::kFloat), tokenizer, folder / "hf");
    const auto config = troupe::read_json_file(folder / "hf" / "tokenizer_config.json");
    CHECK(config["tokenizer_class"] == "PreTrainedTokenizerFast");
    CHECK(config["eos_token"] == "<end>");
  }
}
