#include <algorithm>
#include <filesystem>
#include <iostream>
#include <map>
#include <memory>

#include <nlohmann/json.hpp>

#include "common/base/error.h"
#include "common/base/files.h"
#include "common/data/json_lines.h"
#include "launch/commands.h"
#include "launch/eval_statistics.h"
#include "launch/generation.h"
#include "launch/grading.h"
#include "launch/rows_io.h"
#include "learner/stages/prompt_writer.h"
#include "learner/stages/sample_score.h"
#include "rewarders/reward.h"
#include "rewarders/score_json.h"

namespace troupe {
namespace {

namespace fs = std::filesystem;
namespace po = boost::program_options;
using Json = nlohmann::ordered_json;

/// The prompts of data rows as training writes them: {"ids"}.
class PromptRows final : public RowSource {
 public:
  PromptRows(const std::vector<Row>& rows, const PromptWriter& prompts) {
    for (const Row& row : rows) prompts_.push_back({{{"ids", prompts.prompt_ids(row)}}, row.where});
  }
  std::uint64_t size() const override { return prompts_.size(); }
  Row at(std::uint64_t number) const override { return in_order(number % size()); }
  Row in_order(std::uint64_t index) const override { return prompts_[static_cast<std::size_t>(index)]; }

 private:
  std::vector<Row> prompts_;
};

std::vector<Row> first_rows(const std::string& data, std::uint64_t most) {
  const auto source = open_rows(data, 0);
  std::vector<Row> rows;
  for (std::uint64_t i = 0; i < source->size() && (most == 0 || i < most); ++i) {
    rows.push_back(source->in_order(i));
    if (rows.back().text.empty()) rows.back().text = rows.back().json.dump();
  }
  return rows;
}

/// A file of generate, graded.
class GradedCompletions {
 public:
  /// `samples` completions of each row. @throws ConfigError.
  GradedCompletions(const fs::path& completions, const std::vector<Row>& rows, std::size_t samples)
      : lines_(completions.string()), rows_(rows), samples_(samples), scores_(lines_.size()) {
    check(lines_.size() == rows.size() * samples, "a complete file has all completions");
  }

  void grade(Grading& grading) {
    grading.run(
        [&](std::size_t i) {
          const nlohmann::json line = lines_.row(i).json;
          return VerifierProcess::Item{rows_[i / samples_].text, line.at("text").get<std::string>(), static_cast<std::uint32_t>(line.at("ids").size()),
                                       line.at("finish_reason") == "length" ? FinishReason::kLength : FinishReason::kStop};
        },
        [&](std::size_t i, const Score& score) { scores_[i] = score; });
  }

  /// By row and sample; the rewards by their names, who say what an answer is. Writes a line for each completion where `out` is there.
  std::vector<std::vector<Answered>> answered(const std::map<std::string, std::unique_ptr<Reward>>& rewards, const std::string& question_key,
                                              RowsWriter* out);

  /// What is said of lengths, and of how completions ended.
  Json shape() const;

 private:
  JsonLines lines_;
  const std::vector<Row>& rows_;
  std::size_t samples_;
  std::vector<Score> scores_;
};

std::vector<std::vector<Answered>> GradedCompletions::answered(const std::map<std::string, std::unique_ptr<Reward>>& rewards,
                                                               const std::string& question_key, RowsWriter* out) {
  std::vector<std::vector<Answered>> all;
  for (std::size_t row = 0; row < rows_.size(); ++row) {
    const std::span<const Score> scores = std::span(scores_).subspan(row * samples_, samples_);
    const RewardComponent* const judge = accuracy_component(scores.front());
    const Reward* const reward = judge == nullptr ? nullptr : rewards.at(judge->name).get();
    std::vector<std::optional<std::string>> answers;
    for (std::size_t sample = 0; sample < samples_; ++sample) {
      const nlohmann::json line = lines_.row(row * samples_ + sample).json;
      const std::string completion = line.at("text");
      answers.push_back(reward == nullptr ? std::nullopt : reward->answer(completion));
      if (out == nullptr) continue;
      Json graded = score_to_json(scores[sample]);
      if (const auto messages = messages_of(rows_[row], question_key)) {
        graded["messages"] = *messages;
      } else {
        graded["prompt"] = question_of(rows_[row], question_key);
      }
      graded.update({{"row", rows_[row].where}, {"sample", sample}, {"completion", completion}, {"tokens", line.at("ids").size()},
                     {"answer", answers.back() ? Json(*answers.back()) : Json()}, {"finish_reason", line.at("finish_reason")}});
      out->write_line(graded.dump());
    }
    const auto votes = votes_of(answers, [&](const std::string& a, const std::string& b) { return reward->same(a, b); });
    std::vector<Answered>& of_row = all.emplace_back();
    for (std::size_t sample = 0; sample < samples_; ++sample) {
      const std::optional<double> value = accuracy_of(scores[sample]);
      of_row.push_back({value ? std::optional(*value >= 1) : std::nullopt, votes[sample]});
    }
  }
  return all;
}

Json GradedCompletions::shape() const {
  std::vector<std::size_t> tokens;
  double sum = 0, cut_off = 0, without = 0;
  for (std::size_t i = 0; i < lines_.size(); ++i) {
    const nlohmann::json line = lines_.row(i).json;
    tokens.push_back(line.at("ids").size());
    sum += static_cast<double>(tokens.back());
    cut_off += line.at("finish_reason") == "length" ? 1 : 0;
    const RewardComponent* const judge = accuracy_component(scores_[i]);
    without += judge != nullptr && judge->reason == "no_answer" ? 1 : 0;
  }
  std::ranges::sort(tokens);
  const auto count = static_cast<double>(lines_.size());
  return {{"tokens_mean", sum / count}, {"tokens_median", tokens[tokens.size() / 2]}, {"tokens_max", tokens.back()},
          {"cut_off", cut_off / count}, {"no_answer", without / count}};
}

po::options_description eval_words() {
  po::options_description options;
  options.add_options()("data", po::value<std::string>()->required(), "rows to answer, as data.eval: FILE.jsonl or task:NAME/SPLIT")(
      "out", po::value<std::string>()->default_value(""),
      "a folder for completions.jsonl, graded.jsonl and summary.json; the same command goes on with a killed one")(
      "rows", po::value<std::uint64_t>()->default_value(0), "of the first so many rows; 0: of all");
  // As DeepSeek-R1 is evaluated (section 3).
  Generation::add_options(options, {.temperature = 0.6, .top_p = 0.95, .max_tokens = 1024});
  Grading::add_options(options, "math");
  return options;
}

/// What a recipe says of stops and lengths, unless the command does.
void take_from(const Config& config, const po::variables_map& values, SamplingParams& sampling) {
  if (values.count("config") == 0) return;
  if (values["max-tokens"].defaulted()) sampling.max_tokens = config.sampling.max_tokens;
  if (values.count("stop") == 0) sampling.stop_texts = stop_strings(config.sampling);
}

/// A folder that is there, or one that is gone at the end.
class OutFolder {
 public:
  explicit OutFolder(const std::string& path) : path_(path), kept_(!path.empty()) {
    if (!kept_) {
      std::string name = (fs::temp_directory_path() / "troupe-eval-XXXXXX").string();
      if (mkdtemp(name.data()) == nullptr) throw TransportError(name + ": cannot be made");
      path_ = name;
    }
    fs::create_directories(path_);
  }
  ~OutFolder() {
    std::error_code ignored;
    if (!kept_) fs::remove_all(path_, ignored);
  }
  OutFolder(const OutFolder&) = delete;
  OutFolder& operator=(const OutFolder&) = delete;

  const fs::path& path() const { return path_; }
  bool kept() const { return kept_; }

 private:
  fs::path path_;
  bool kept_;
};

}  // namespace

int eval_command(const std::vector<std::string>& words) {
  const Arguments arguments = split_arguments(words);
  const auto values = parse_own("eval", arguments.own, eval_words(), {});
  const Config config = Grading::config_of(values, arguments.overrides);
  const RewardSet rewards(config.rewards);
  const std::vector<Row> rows = first_rows(values["data"].as<std::string>(), values["rows"].as<std::uint64_t>());
  for (const Row& row : rows) check_gradable(rewards, row);

  Generation generation(values);
  take_from(config, values, generation.options().sampling);
  const std::size_t samples = generation.options().samples;
  const PromptWriter prompts(config.data, generation.tokenizer(), generation.options().model);
  const PromptRows prompt_rows(rows, prompts);
  const OutFolder out(values["out"].as<std::string>());
  const fs::path file = out.path() / "completions.jsonl";
  CompletionsFile completions(file, generation.terms(prompt_rows), generation.options().samples);
  Grading grading("eval", values, placed_rewards(config), rows.size() * samples);
  generation.run(prompt_rows, completions);

  GradedCompletions graded(file, rows, samples);
  graded.grade(grading);
  std::map<std::string, std::unique_ptr<Reward>> judges;
  for (const RewardConfig& reward : config.rewards) judges.emplace(reward.name, make_reward(reward));
  std::optional<RowsWriter> lines;
  if (out.kept()) lines.emplace(out.path() / "graded.jsonl");
  const EvalNumbers numbers = numbers_of(graded.answered(judges, config.data.question_key, lines ? &*lines : nullptr));
  if (lines) lines->close();

  Json summary = {{"model", generation.options().model}, {"data", values["data"].as<std::string>()}, {"rows", rows.size()}, {"samples", samples},
                  {"temperature", generation.options().sampling.temperature}, {"top_p", generation.options().sampling.top_p}};
  for (const auto& [k, share] : numbers.pass) summary["pass@" + std::to_string(k)] = share;
  summary["pass@1_standard_error"] = numbers.pass_1_error;
  for (const auto& [k, share] : numbers.majority) summary["majority@" + std::to_string(k)] = share;
  summary.update(graded.shape());
  summary["verifier_failed"] = numbers.failed;
  if (out.kept()) write_file_atomically(out.path() / "summary.json", summary.dump(2) + "\n");
  completions.close();
  std::cout << summary.dump(2) << '\n';
  return 0;
}

}  // namespace troupe
