#include <nlohmann/json.hpp>

#include "common/base/error.h"
#include "common/config/config.h"
#include "common/data/rows.h"
#include "launch/commands.h"
#include "launch/rows_io.h"
#include "launch/tokenize_command.h"
#include "rewarders/reward.h"
#include "rewarders/score_json.h"
#include "rewarders/verifier.h"

namespace troupe {

namespace po = boost::program_options;

int grade_command(const std::vector<std::string>& words) {
  const Arguments arguments = split_arguments(words);
  po::options_description options;
  options.add_options()("reward", po::value<std::string>(), "one reward kind with its defaults")(
      "config", po::value<std::string>(), "a configuration with [reward.NAME] sections")(
      "in", po::value<std::string>()->required(), "JSONL rows {\"question\", \"gold\", \"completion\", …}")(
      "out", po::value<std::string>()->required(), "JSONL rows {\"reward\", \"components\"}")(
      "timeout", po::value<double>()->default_value(10), "seconds for one completion");
  const auto values = parse_own("grade", arguments.own, options, {});
  if (values.count("reward") + values.count("config") != 1) {
    throw ConfigError("troupe grade: expected exactly one of --reward NAME and --config CONFIG");
  }
  std::vector<RewardConfig> rewards;
  if (values.count("config") == 1) {
    rewards = load_config(values["config"].as<std::string>(), arguments.overrides).rewards;
    if (rewards.empty()) throw ConfigError(values["config"].as<std::string>() + ": has no [reward.NAME] section");
  } else {
    const std::string kind = values["reward"].as<std::string>();
    rewards.push_back({kind, kind, 1.0, {}});
  }
  VerifierProcess verifier(rewards, own_verifier_command());
  const std::vector<Row> rows = read_rows(values["in"].as<std::string>());
  RowsWriter out(values["out"].as<std::string>());
  for (const Row& row : rows) {
    const auto completion = row.json.find("completion");
    if (completion == row.json.end() || !completion->is_string()) {
      throw ConfigError(row.where + ": expected a text under `completion`");
    }
    const auto tokens = row.json.value("tokens", std::uint32_t{0});
    const Score score = verifier.score(row.json.dump(), completion->get<std::string>(), tokens, FinishReason::kStop,
                                       values["timeout"].as<double>());
    out.write(nlohmann::json(score_to_json(score)));
  }
  out.close();
  return 0;
}

int tokenize_command(const std::vector<std::string>& words) {
  po::options_description options;
  options.add_options()("model", po::value<std::string>()->required(), "folder with tokenizer.json")(
      "in", po::value<std::string>()->required(), "JSONL rows {\"text\"} or {\"ids\"}")(
      "out", po::value<std::string>()->required(), "JSONL rows {\"ids\", \"text\"}");
  const auto values = parse_own("tokenize", words, options, {});
  return run_tokenize(values["model"].as<std::string>(), values["in"].as<std::string>(), values["out"].as<std::string>());
}

}  // namespace troupe
