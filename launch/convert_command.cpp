#include <ATen/core/Tensor.h>

#include <filesystem>
#include <iostream>
#include <string>

#include "common/base/error.h"
#include "common/base/files.h"
#include "common/gguf/gguf_tokenizer.h"
#include "common/model/checkpoint_io.h"
#include "common/model/gguf_checkpoint.h"
#include "common/tokenizer/tokenizer.h"
#include "common/tokenizer/vocabulary_files.h"
#include "launch/commands.h"

namespace troupe {
namespace {

namespace fs = std::filesystem;
namespace po = boost::program_options;

constexpr const char* kNoTokenizer = "only weights are written: there is no tokenizer in ";

/// Both return the model's architecture.
Architecture convert_folder(const fs::path& source, const fs::path& target, at::ScalarType dtype) {
  const Parameters parameters = load_parameters(source, dtype);
  if (fs::exists(tokenizer_file_of(source))) {
    save_hugging_face(parameters, source, target);
  } else {
    std::cerr << kNoTokenizer << source.string() << '\n';
    save_weights(parameters, target);
  }
  return parameters.architecture();
}

Architecture convert_gguf(const fs::path& source, const fs::path& target, at::ScalarType dtype) {
  const GgufFile file(source);
  const Parameters parameters = load_gguf(file, dtype);
  const Architecture& a = parameters.architecture();
  if (!file.metadata().contains("tokenizer.ggml.model")) {
    std::cerr << kNoTokenizer << source.string() << '\n';
    save_weights(parameters, target);
    return a;
  }
  GgufTokenizerFiles tokenizer = gguf_tokenizer(file);
  tokenizer.tokenizer_config["model_max_length"] = a.max_positions;
  const std::string text = tokenizer.tokenizer.dump(1) + "\n";
  const std::int64_t tokens = Tokenizer::from_json(text, source.string() + ": tokenizer").vocabulary_size();
  if (tokens > a.vocabulary) {
    throw ConfigError(source.string() + ": expected a row of token_embd.weight for each of " + std::to_string(tokens) +
                      " tokens, found " + std::to_string(a.vocabulary));
  }
  save_weights(parameters, target);
  write_file_atomically(target / "tokenizer.json", text);
  write_file_atomically(target / "tokenizer_config.json", tokenizer.tokenizer_config.dump(2) + "\n");
  return a;
}

}  // namespace

int convert_command(const std::vector<std::string>& words) {
  po::options_description options;
  options.add_options()("dtype", po::value<std::string>()->default_value("fp32"), "of the weights in DST: fp32 or bf16");
  const auto values = parse_own("convert", words, options, {"SRC", "DST"});
  const fs::path source = values["SRC"].as<std::string>(), target = values["DST"].as<std::string>();
  const auto name = values["dtype"].as<std::string>();
  if (name != "fp32" && name != "bf16") throw ConfigError("--dtype: expected fp32 or bf16, found '" + name + "'");
  const at::ScalarType dtype = name == "fp32" ? at::kFloat : at::kBFloat16;
  if (fs::exists(target) && !fs::is_directory(target)) throw ConfigError(target.string() + ": expected a folder, found a file");
  const Architecture a = fs::is_directory(source) ? convert_folder(source, target, dtype) : convert_gguf(source, target, dtype);
  std::cerr << target.string() << ": " << a.model_type << ", " << a.layers << " layers, hidden " << a.hidden << ", " << a.vocabulary
            << " tokens, " << ParameterLayout(a).total << " parameters in " << name << "\n";
  return 0;
}

}  // namespace troupe
