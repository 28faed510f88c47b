#include "launch/pipeline.h"

#include <algorithm>
#include <charconv>
#include <map>
#include <sstream>
#include <string_view>

#include <boost/program_options.hpp>
#include <nlohmann/json.hpp>

#include "common/base/error.h"
#include "common/base/files.h"
#include "common/base/text.h"

namespace troupe {
namespace {

namespace fs = std::filesystem;
namespace po = boost::program_options;

/// The commands of a pipeline, with the option that says where each leaves its work.
const std::map<std::string, std::string>& commands() {
  static const std::map<std::string, std::string> places = {{"pretrain", "--run-dir"}, {"sft", "--run-dir"},          {"dpo", "--run-dir"},
                                                            {"run", "--run-dir"},      {"reward-model", "--run-dir"}, {"eval", "--out"},
                                                            {"select", "--out"}};
  return places;
}

bool is_supervised(const std::string& command) { return commands().at(command) == "--run-dir" && command != "run"; }

/// A reference between braces: where it begins and ends in the word, and the stage that it names.
struct Reference {
  std::size_t begin, end;
  std::string stage;
  bool folder;
};

std::vector<Reference> references_in(const std::string& word) {
  std::vector<Reference> references;
  for (std::size_t begin = word.find('{'); begin != std::string::npos; begin = word.find('{', begin + 1)) {
    const std::size_t end = word.find('}', begin);
    if (end == std::string::npos) break;
    std::string name = word.substr(begin + 1, end - begin - 1);
    const bool folder = name.ends_with(".folder");
    if (folder) name.resize(name.size() - std::string_view(".folder").size());
    references.push_back({begin, end + 1, std::move(name), folder});
  }
  return references;
}

void check_stage(const PipelineStage& stage, const std::vector<PipelineStage>& before, const std::string& where) {
  const std::string known = "one of pretrain, sft, dpo, reward-model, run, eval and select";
  if (stage.words.empty()) throw ConfigError(where + ": expected the key `command`: " + known + ", and its arguments");
  const std::string& command = stage.words.front();
  if (!commands().contains(command)) throw ConfigError(where + ": command = " + command + ": expected " + known);
  if (stage.ranks > 1 && !is_supervised(command)) {
    throw ConfigError(where + ": ranks = " + std::to_string(stage.ranks) + ": expected 1 for `" + command + "`" +
                      (command == "run" ? ", which starts learners.count of them" : ""));
  }
  for (const std::string& word : stage.words) {
    if (word == commands().at(command)) throw ConfigError(where + ": " + word + ": a pipeline gives each stage a folder of its own");
    for (const Reference& reference : references_in(word)) {
      if (std::ranges::find(before, reference.stage, &PipelineStage::name) != before.end()) continue;
      throw ConfigError(where + ": " + word + ": expected the name of an earlier stage in braces, found '" + reference.stage + "'");
    }
  }
}

/// What a finished stage hands on.
fs::path product_of(const PipelineStage& stage, const fs::path& root) {
  const fs::path folder = root / stage.name;
  if (stage.words.front() == "select") return folder / "rows.jsonl";
  if (stage.words.front() == "eval") return folder;
  const auto summary = nlohmann::json::parse(read_file(folder / "summary.json"));
  return folder / "checkpoints" / ("step-" + std::to_string(summary.at("steps").get<std::int64_t>())) / "hf";
}

int ranks_of(const std::string& value, const std::string& where) {
  int ranks = 0;
  const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), ranks);
  if (error != std::errc() || end != value.data() + value.size() || ranks < 1) {
    throw ConfigError(where + ": ranks = " + value + ": expected a whole number from 1");
  }
  return ranks;
}

/// A line that ends in a backslash goes on in the next.
std::string joined_lines(std::string text) {
  for (std::size_t at = text.find("\\\n"); at != std::string::npos; at = text.find("\\\n", at)) text.replace(at, 2, " ");
  return text;
}

bool is_name(const std::string& name) {
  return !name.empty() && std::ranges::all_of(name, [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' || c == '-'; });
}

}  // namespace

std::vector<PipelineStage> read_pipeline(const fs::path& file) {
  if (!fs::is_regular_file(file)) throw ConfigError(file.string() + ": is no file");
  std::istringstream in(joined_lines(read_file(file)));
  std::vector<PipelineStage> stages;
  try {
    for (const auto& option : po::parse_config_file(in, po::options_description(), /*allow_unregistered=*/true).options) {
      const std::size_t dot = option.string_key.rfind('.');
      const std::string section = option.string_key.substr(0, dot), key = option.string_key.substr(dot + 1);
      const std::string name = section.starts_with("stage.") ? section.substr(6) : "";
      const std::string where = file.string() + ": [" + section + "]";
      if (!is_name(name)) throw ConfigError(where + ": expected sections [stage.NAME], NAME of a-z, 0-9, _ and -");
      if (stages.empty() || stages.back().name != name) {
        const bool again = std::ranges::find(stages, name, &PipelineStage::name) != stages.end();
        if (again) throw ConfigError(where + ": there are two stages of this name");
        stages.push_back({name, {}});
      }
      if (key == "command") {
        stages.back().words = po::split_unix(option.value.front());
      } else if (key == "ranks") {
        stages.back().ranks = ranks_of(option.value.front(), where);
      } else {
        throw ConfigError(where + ": unknown key " + key + ": expected command or ranks");
      }
    }
  } catch (const po::error& error) {
    throw ConfigError(file.string() + ": " + error.what());
  }
  if (stages.empty()) throw ConfigError(file.string() + ": expected sections [stage.NAME]");
  std::vector<PipelineStage> before;
  for (const PipelineStage& stage : stages) {
    check_stage(stage, before, file.string() + ": [stage." + stage.name + "]");
    before.push_back(stage);
  }
  return stages;
}

std::vector<std::string> command_of(const PipelineStage& stage, const std::vector<PipelineStage>& stages, const fs::path& root) {
  std::vector<std::string> words;
  for (const std::string& word : stage.words) {
    std::string replaced;
    std::size_t from = 0;
    for (const Reference& reference : references_in(word)) {
      const auto named = std::ranges::find(stages, reference.stage, &PipelineStage::name);
      const fs::path path = reference.folder ? root / reference.stage : product_of(*named, root);
      if (!fs::exists(path)) throw ConfigError(path.string() + ": is not there, though stage " + reference.stage + " is finished");
      replaced += word.substr(from, reference.begin - from) + path.string();
      from = reference.end;
    }
    words.push_back(replaced + word.substr(from));
  }
  words.insert(words.end(), {commands().at(stage.words.front()), (root / stage.name).string()});
  return words;
}

bool is_finished(const PipelineStage& stage, const fs::path& root) { return fs::exists(root / stage.name / "summary.json"); }

}  // namespace troupe
