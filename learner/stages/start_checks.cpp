#include "learner/stages/start_checks.h"

#include "common/base/error.h"
#include "common/data/rows.h"
#include "common/tokenizer/tokenizer.h"
#include "learner/stages/prompt_rows.h"

namespace troupe {

void check_data(const Config& config, const std::filesystem::path& model_folder, const Logger& logger) {
  const Tokenizer tokenizer = Tokenizer::load(model_folder);
  const PromptWriter prompts(config.data, tokenizer, model_folder);
  check_rows(prompts, "data.train", *open_rows(config.data.train, config.run.seed), logger);
  if (!config.data.eval.empty()) {
    check_rows(prompts, "data.eval", *open_rows(config.data.eval, config.run.seed), logger);
  }
}

void require_ledger(const RunRecord& record, std::int64_t resumed_step) {
  const std::int64_t trained = record.state().last_trained_step;
  if (resumed_step <= trained) return;
  throw ConfigError(record.folder().ledger().string() + ": expected the records of steps 1 to " + std::to_string(resumed_step) +
                    ", of which there is a checkpoint, found " + std::to_string(trained) +
                    " trained steps: the file was cut or is another run's; put it back, or move the newer checkpoints away");
}

void say_exactness(const Config& config, const Logger& logger) {
  const auto obstacles = exactness_obstacles(config);
  if (!config.run.exact) logger.info("run.exact = false: log-probabilities of sampler and learner are not asserted to be equal");
  for (const std::string& obstacle : obstacles) logger.info("not exact: " + obstacle);
}

}  // namespace troupe
