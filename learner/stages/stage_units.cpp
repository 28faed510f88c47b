#include "learner/stages/stage_units.h"

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "common/base/error.h"
#include "common/base/random.h"
#include "common/data/rows.h"
#include "common/model/architecture.h"
#include "common/tokenizer/tokenizer.h"
#include "learner/stages/packed_texts.h"
#include "learner/stages/prompt_rows.h"
#include "learner/stages/prompt_writer.h"

namespace troupe {
namespace {

/// Rows as units of the kind.
class RowUnits {
 public:
  RowUnits(SupervisedKind kind, const Config& config, const std::filesystem::path& model_folder)
      : kind_(kind),
        seed_(seed_for(config.run.seed, Stream::kData)),
        max_positions_(read_architecture(model_folder).max_positions),
        tokenizer_(Tokenizer::load(model_folder)),
        prompts_(config.data, tokenizer_, model_folder) {}

  std::unique_ptr<RowSource> open(const std::string& spec) const { return open_rows(spec, seed_); }

  SupervisedUnit unit_of(const Row& row) const {
    return kind_ == SupervisedKind::kDpo ? prompts_.pair(row) : SupervisedUnit{prompts_.example(row)};
  }

  /// What is too long in the row, or "".
  std::string complaint(const Row& row) const {
    for (const SftExample& example : unit_of(row)) {
      const auto prompt = static_cast<std::int64_t>(example.prompt.size());
      const auto total = prompt + static_cast<std::int64_t>(example.completion.size());
      if (prompt == 0) throw ConfigError(row.where + ": expected a prompt of at least one token, found none");
      if (prompt > prompts_.data().max_prompt_tokens) {
        return "the prompt has " + std::to_string(prompt) + " tokens, data.max_prompt_tokens allows " +
               std::to_string(prompts_.data().max_prompt_tokens);
      }
      if (total > max_positions_) {
        return "prompt and completion have " + std::to_string(total) + " tokens, the model has " + std::to_string(max_positions_) +
               " positions";
      }
    }
    return "";
  }

  bool drops() const { return prompts_.data().long_prompts == "drop"; }
  bool keeps(const Row& row) const { return !drops() || complaint(row).empty(); }

  /// The places of the rows that are kept. @throws ConfigError naming the first row that must not be there.
  std::vector<std::uint64_t> kept(const std::string& key, const RowSource& rows, const Logger& logger) const {
    std::vector<std::uint64_t> places;
    for (std::uint64_t i = 0; i < rows.size(); ++i) {
      const Row row = rows.in_order(i);
      const std::string what = complaint(row);
      if (what.empty()) {
        places.push_back(i);
      } else if (!drops()) {
        throw ConfigError(row.where + ": " + what + "; shorten it, or set data.long_prompts = drop");
      }
    }
    if (places.empty()) throw ConfigError(key + ": every row is longer than data.max_prompt_tokens or the model's positions");
    const std::uint64_t dropped = rows.size() - places.size();
    if (dropped > 0) {
      logger.warning(key + ": " + std::to_string(dropped) + " of " + std::to_string(rows.size()) +
                     " rows are dropped: they are too long");
    }
    return places;
  }

 private:
  SupervisedKind kind_;
  std::uint64_t seed_;
  std::int64_t max_positions_;
  Tokenizer tokenizer_;
  PromptWriter prompts_;
};

StageUnits units_of_rows(SupervisedKind kind, const Config& config, const std::filesystem::path& model_folder, bool checks,
                         const Logger& logger) {
  const auto units = std::make_shared<const RowUnits>(kind, config, model_folder);  // the two functions share it
  const std::shared_ptr<const RowSource> train = units->open(config.data.train);
  if (checks) units->kept("data.train", *train, logger);
  StageUnits result;
  result.train = [units, train](std::uint64_t number) {
    return units->unit_of(kept_row(*train, number, [&](const Row& row) { return units->keeps(row); }));
  };
  if (config.data.eval.empty()) return result;
  const std::shared_ptr<const RowSource> eval = units->open(config.data.eval);
  const std::vector<std::uint64_t> places = units->kept("data.eval", *eval, logger);
  result.held_out = [units, eval, places](std::uint64_t index) { return units->unit_of(eval->in_order(places.at(index))); };
  result.held_out_units = places.size();
  return result;
}

StageUnits units_of_texts(const Config& config, const std::filesystem::path& model_folder, const Logger& logger) {
  const Architecture architecture = read_architecture(model_folder);
  const std::int64_t tokens = config.data.sequence_tokens;
  if (tokens > architecture.max_positions) {
    throw ConfigError("data.sequence_tokens = " + std::to_string(tokens) + ": expected at most " +
                      std::to_string(architecture.max_positions) + ", the model's positions");
  }
  const Tokenizer tokenizer = Tokenizer::load(model_folder);
  const std::int32_t end_id = architecture.eos_ids.empty() ? -1 : architecture.eos_ids.front();
  const auto open = [&](const std::string& key, const std::string& spec) {
    return std::make_shared<const PackedTexts>(key, spec, tokenizer, end_id, tokens, seed_for(config.run.seed, Stream::kData),
                                               logger);
  };
  StageUnits result;
  result.train = [texts = open("data.train", config.data.train)](std::uint64_t number) { return texts->at(number); };
  if (config.data.eval.empty()) return result;
  const auto eval = open("data.eval", config.data.eval);
  result.held_out = [eval](std::uint64_t index) { return eval->in_order(index); };
  result.held_out_units = eval->size();
  return result;
}

const char* rows_of(SupervisedKind kind) {
  switch (kind) {
    case SupervisedKind::kSft:
      return "rows of prompt and completion or of messages";
    case SupervisedKind::kPretrain:
      return "a text file, or rows of text";
    case SupervisedKind::kDpo:
      return "rows of prompt (or messages), chosen and rejected";
  }
  return "";
}

}  // namespace

const char* name_of(SupervisedKind kind) {
  switch (kind) {
    case SupervisedKind::kSft:
      return "sft";
    case SupervisedKind::kPretrain:
      return "pretrain";
    case SupervisedKind::kDpo:
      return "dpo";
  }
  return "";
}

StageUnits open_units(SupervisedKind kind, const Config& config, const std::filesystem::path& model_folder, bool checks,
                      const Logger& logger) {
  if (config.data.train.empty()) throw ConfigError(std::string("data.train: expected ") + rows_of(kind) + ", found none");
  if (config.eval.every > 0 && config.data.eval.empty()) {
    throw ConfigError("data.eval: expected " + std::string(rows_of(kind)) +
                      " for eval.every = " + std::to_string(config.eval.every) + ", found none");
  }
  StageUnits units = kind == SupervisedKind::kPretrain ? units_of_texts(config, model_folder, logger)
                                                       : units_of_rows(kind, config, model_folder, checks, logger);
  units.held_out_units = std::min(units.held_out_units, static_cast<std::uint64_t>(config.eval.prompts));
  return units;
}

}  // namespace troupe
