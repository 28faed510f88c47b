#pragma once

#include <memory>
#include <string>

#include <boost/program_options.hpp>
#include <nlohmann/json.hpp>

#include "actors/engine.h"
#include "common/data/rows.h"
#include "common/tokenizer/tokenizer.h"
#include "launch/completions_file.h"
#include "launch/generator.h"

namespace troupe {

/// How a command samples where its options do not say.
struct SamplingDefaults {
  double temperature = 1.0;
  double top_p = 1.0;
  std::int32_t max_tokens = 256;
};

/// A model that completes rows, as the options of a command say.
class Generation {
 public:
  /// Adds the options that the constructor reads, `model` among them.
  static void add_options(boost::program_options::options_description& options, const SamplingDefaults& defaults);

  /// Loads the model and its tokenizer, and makes the engine. @throws ConfigError.
  explicit Generation(const boost::program_options::variables_map& values);

  /// How rows become prompts is the caller's to say.
  GenerateOptions& options() { return options_; }
  const Tokenizer& tokenizer() const { return tokenizer_; }

  /// Everything that the completions of these rows depend on.
  nlohmann::ordered_json terms(const RowSource& rows) const;

  /// Completes the rows that the file does not have yet, and now and then tells on standard error how far it is. Returns how many of all
  /// rows were refused. @throws ConfigError where one is and `options().refused_rows` says so, TransportError where the disk is full.
  std::uint64_t run(const RowSource& rows, CompletionsFile& file);

 private:
  Generation(const boost::program_options::variables_map& values, Parameters parameters);

  std::string dtype_;
  int tensor_parallel_;
  bool on_gpu_;
  Architecture architecture_;
  Tokenizer tokenizer_;
  GenerateOptions options_;
  std::unique_ptr<Engine> engine_;
};

}  // namespace troupe
