#include <nlohmann/json.hpp>

#include "common/base/error.h"
#include "common/config/config.h"
#include "common/data/json_lines.h"
#include "launch/command_line.h"
#include "launch/commands.h"
#include "launch/grading.h"
#include "launch/rows_io.h"
#include "rewarders/reward.h"
#include "rewarders/score_json.h"

namespace troupe {

namespace po = boost::program_options;

namespace {

FinishReason finish_of(const Row& row) {
  const auto field = row.json.find("finish_reason");
  if (field == row.json.end() || *field == "stop") return FinishReason::kStop;
  if (*field == "length") return FinishReason::kLength;
  throw ConfigError(row.where + ": expected \"stop\" or \"length\" under `finish_reason`, found " + field->dump());
}

/// @throws ConfigError naming the row that cannot be graded.
VerifierProcess::Item item_of(const Row& row) {
  const auto completion = row.json.find("completion");
  if (completion == row.json.end() || !completion->is_string()) throw ConfigError(row.where + ": expected a text under `completion`");
  const auto tokens = row.json.find("tokens");
  if (tokens != row.json.end() && !tokens->is_number_unsigned()) throw ConfigError(row.where + ": expected a count under `tokens`, found " + tokens->dump());
  return {row.text, completion->get<std::string>(), row.json.value("tokens", std::uint32_t{0}), finish_of(row)};
}

}  // namespace

int grade_command(const std::vector<std::string>& words) {
  const Arguments arguments = split_arguments(words);
  po::options_description options;
  options.add_options()("in", po::value<std::string>()->required(), "JSONL rows {\"question\", \"gold\", \"completion\", …}")(
      "out", po::value<std::string>()->required(), "JSONL rows {\"reward\", \"components\"}");
  Grading::add_options(options);
  const auto values = parse_own("grade", arguments.own, options, {});
  const Config config = Grading::config_of(values, arguments.overrides);
  const JsonLines rows(values["in"].as<std::string>());
  Grading grading("grade", values, placed_rewards(config), rows.size());
  RowsWriter out(values["out"].as<std::string>());
  std::vector<std::string> scores(rows.size());
  grading.run([&](std::size_t i) { return item_of(rows.row(i)); },
              [&](std::size_t i, const Score& score) { scores[i] = nlohmann::json(score_to_json(score)).dump(); });
  for (const std::string& line : scores) out.write_line(line);
  out.close();
  return 0;
}

}  // namespace troupe
