#include "learner/stages/sft_stage.h"

#include <cmath>
#include <iostream>
#include <optional>

#include "common/base/error.h"
#include "common/base/files.h"
#include "common/base/metric_names.h"
#include "common/base/metrics.h"
#include "common/base/random.h"
#include "common/base/text.h"
#include "common/data/rows.h"
#include "common/model/checkpoint_io.h"
#include "common/tokenizer/tokenizer.h"
#include "learner/stages/prompt_writer.h"
#include "learner/stages/sft.h"
#include "learner/stages/start_model.h"

namespace troupe {
namespace {

constexpr int kExitResumable = 75;

/// A row as ids, checked against the model's positions.
SftExample example_of(const Row& row, const PromptWriter& prompts, const Architecture& architecture) {
  SftExample example = prompts.example(row);
  const auto total = static_cast<std::int64_t>(example.prompt.size() + example.completion.size());
  if (example.prompt.empty() || total > architecture.max_positions) {
    throw ConfigError(row.where + ": prompt and completion have " + std::to_string(total) + " tokens; expected 1 to " +
                      std::to_string(architecture.max_positions) + ", the model's positions");
  }
  return example;
}

}  // namespace

int run_sft_stage(const Config& config, const RunFolder& folder, const std::filesystem::path& dump, Communicator& communicator,
                  const std::function<bool()>& stop, const Logger& logger) {
  const bool leads = communicator.rank() == 0;
  std::optional<FolderLock> lock;
  std::optional<MetricsWriter> metrics;
  if (leads) {
    std::filesystem::create_directories(folder.root);
    lock.emplace(folder.lock());
    write_file_atomically(folder.config(), print_config(config));
    metrics.emplace(folder.root, 0);
    if (config.cold_start.steps > 0) prepare_start(config, folder);
  }
  communicator.barrier();
  if (!make_start(config, folder, communicator, stop, logger)) return kExitResumable;
  const std::filesystem::path start = start_folder(config, folder);
  if (start.empty()) throw ConfigError("model.path: expected a Hugging Face directory (or a [cold_start]), found none");
  if (config.data.train.empty()) throw ConfigError("data.train: expected rows of prompt and completion or of messages, found none");
  Parameters parameters = load_parameters(start, at::kFloat);
  const Tokenizer tokenizer = Tokenizer::load(start);
  const PromptWriter prompts(config.data, tokenizer, start);
  const auto rows = open_rows(config.data.train, seed_for(config.run.seed, Stream::kData));

  SftOptions options;
  options.optimizer = config.optimizer;
  options.steps = config.run.steps;
  options.batch = config.batch.prompts;
  options.micro_tokens = config.batch.micro_tokens;
  options.example = [&](std::uint64_t number) { return example_of(rows->at(number), prompts, parameters.architecture()); };
  options.on_step = [&](std::int64_t step, double loss, double grad_norm) {
    metrics->write(step, {{std::string(metric::kLoss), loss}, {std::string(metric::kGradNorm), grad_norm}});
    std::cout << "step " << step << "/" << options.steps << "  loss " << shortest(std::round(loss * 1e4) / 1e4) << std::endl;
  };
  if (!dump.empty()) {
    options.on_first_update = [&](const UpdateTrace& update) {
      write_dump(dump, parameters.layout(), update, {{"step", "1"}, {"update", "1"}, {"config", print_config(config)}});
    };
  }
  options.stop = stop;
  const std::int64_t trained = run_sft(parameters, options, communicator);
  if (leads) {
    const std::filesystem::path out = folder.checkpoints() / ("step-" + std::to_string(trained)) / "hf";
    std::filesystem::create_directories(out);
    save_hugging_face(parameters, start, out);
    std::cout << "written: " << out.string() << std::endl;
  }
  communicator.barrier();
  return trained < config.run.steps ? kExitResumable : 0;
}

}  // namespace troupe
