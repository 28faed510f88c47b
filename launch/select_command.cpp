#include <algorithm>
#include <filesystem>
#include <iostream>
#include <map>
#include <set>

#include <nlohmann/json.hpp>

#include "common/base/error.h"
#include "common/base/files.h"
#include "common/data/json_lines.h"
#include "launch/commands.h"
#include "launch/rows_io.h"

namespace troupe {
namespace {

namespace fs = std::filesystem;
namespace po = boost::program_options;

/// What an answer must have to be kept.
class Demands {
 public:
  /// "language=0.9": a component's least value.
  Demands(const std::vector<std::string>& least, double reward) : reward_(reward) {
    for (const std::string& demand : least) {
      const std::size_t equals = demand.find('=');
      char* end = nullptr;
      const double value = equals == std::string::npos ? 0 : std::strtod(demand.c_str() + equals + 1, &end);
      if (end == nullptr || *end != '\0' || equals == 0 || demand.size() == equals + 1) {
        throw ConfigError("--least " + demand + ": expected NAME=NUMBER, a component and its least value");
      }
      least_[demand.substr(0, equals)] = value;
    }
  }

  /// @throws ConfigError where the answer has no such component.
  bool hold(const Row& row) const {
    const nlohmann::json& reward = row.json.at("reward");
    if (!reward.is_number() || reward.get<double>() < reward_) return false;
    const nlohmann::json& components = row.json.at("components");
    return std::ranges::all_of(least_, [&](const auto& demand) {
      const auto found = components.find(demand.first);
      if (found == components.end()) throw ConfigError(row.where + ": has no component " + demand.first + ", which --least asks for");
      return found->at("value").is_number() && found->at("value").template get<double>() >= demand.second;
    });
  }

 private:
  double reward_;
  std::map<std::string, double> least_;
};

/// The answer as a row of `troupe sft`.
nlohmann::ordered_json sft_row(const Row& answer) {
  const std::string completion = answer.json.at("completion");
  if (!answer.json.contains("messages")) return {{"prompt", answer.json.at("prompt")}, {"completion", completion}};
  nlohmann::ordered_json messages = in_line_order(answer, "messages");
  messages.push_back({{"role", "assistant"}, {"content", completion}});
  return {{"messages", messages}};
}

}  // namespace

int select_command(const std::vector<std::string>& words) {
  po::options_description options;
  options.add_options()("in", po::value<std::string>()->required(), "graded.jsonl of `troupe eval --out`")(
      "out", po::value<std::string>()->required(), "a folder for rows.jsonl, which `troupe sft` trains on, and summary.json")(
      "reward", po::value<double>()->default_value(1.0), "least reward of an answer that is kept")(
      "least", po::value<std::vector<std::string>>()->composing(), "NAME=VALUE, a component's least value; may be given several times")(
      "per-row", po::value<std::int64_t>()->default_value(1), "most answers of a row, the first ones that differ; 0: all")(
      "cut-off", "keep answers that were cut off, too");
  const auto values = parse_own("select", words, options, {});
  const auto least = values.count("least") > 0 ? values["least"].as<std::vector<std::string>>() : std::vector<std::string>();
  const Demands demands(least, values["reward"].as<double>());
  const std::int64_t most = values["per-row"].as<std::int64_t>();
  if (most < 0) throw ConfigError("--per-row = " + std::to_string(most) + ": expected 0 or more");

  const JsonLines answers(values["in"].as<std::string>());
  const fs::path out = values["out"].as<std::string>();
  fs::create_directories(out);
  RowsWriter rows(out / "rows.jsonl");
  std::map<std::string, std::set<std::string>> kept;  // by row
  std::set<std::string> all;
  std::int64_t written = 0;
  for (std::size_t i = 0; i < answers.size(); ++i) {
    const Row answer = answers.row(i);
    for (const char* key : {"row", "completion", "reward", "components", "finish_reason"}) {
      if (!answer.json.contains(key)) throw ConfigError(answer.where + ": expected a line of `troupe eval`, found none of its key " + key);
    }
    const std::string row = answer.json.at("row");
    all.insert(row);
    if ((answer.json.at("finish_reason") == "length" && values.count("cut-off") == 0) || !demands.hold(answer)) continue;
    std::set<std::string>& of_row = kept[row];
    if ((most > 0 && std::ssize(of_row) >= most) || !of_row.insert(answer.json.at("completion")).second) continue;
    rows.write_line(sft_row(answer).dump());
    ++written;
  }
  if (written == 0) throw ConfigError(values["in"].as<std::string>() + ": none of its " + std::to_string(answers.size()) + " answers has what was asked for");
  rows.close();
  const nlohmann::ordered_json summary = {{"answers", answers.size()}, {"rows", all.size()}, {"rows_kept", kept.size()}, {"kept", written}};
  write_file_atomically(out / "summary.json", summary.dump(2) + "\n");
  std::cout << summary.dump(2) << '\n';
  return 0;
}

}  // namespace troupe
