#include "common/config/config.h"

#include <algorithm>
#include <boost/program_options.hpp>
#include <map>
#include <optional>
#include <set>

#include "common/base/checksum.h"
#include "common/base/error.h"
#include "common/base/files.h"
#include "common/base/text.h"
#include "common/config/ini.h"
#include "common/config/options.h"

namespace troupe {
namespace {

namespace po = boost::program_options;

constexpr std::string_view kRewardPrefix = "reward.";
constexpr const char* kCommandLine = "command line";

std::vector<std::string> known_keys() {
  std::vector<std::string> keys;
  for (const Option& option : config_options()) keys.push_back(option.key);
  return keys;
}

std::string section_of(const std::string& key) { return key.substr(0, key.find('.')); }

/// What follows the first dot, "" where there is none.
std::string after_dot(const std::string& key) {
  const std::size_t dot = key.find('.');
  return dot == std::string::npos ? "" : key.substr(dot + 1);
}

[[noreturn]] void throw_unknown(const std::string& key, const std::string& where) {
  std::vector<std::string> candidates = known_keys();
  if (std::count(key.begin(), key.end(), '.') >= 2) candidates.push_back(std::string(kRewardPrefix) + after_dot(key));
  throw ConfigError(where + ": unknown key " + key + "; the nearest known one is " + *nearest(key, candidates));
}

/// Boost lets values follow as "--key value" and "--key=value"; guessing of abbreviations is off.
std::vector<Setting> parse_overrides(const std::vector<std::string>& overrides) {
  std::set<std::string> keys;
  for (const std::string& key : known_keys()) keys.insert(key);
  for (const std::string& token : overrides) {
    if (token.starts_with("--" + std::string(kRewardPrefix))) keys.insert(token.substr(2, token.find('=') - 2));
  }
  po::options_description description;
  for (const std::string& key : keys) description.add_options()(key.c_str(), po::value<std::string>());
  namespace style = po::command_line_style;
  std::vector<Setting> settings;
  std::set<std::string> seen;
  try {
    const auto parsed = po::command_line_parser(overrides)
                            .options(description)
                            .style(style::allow_long | style::long_allow_adjacent | style::long_allow_next)
                            .run();
    for (const po::option& option : parsed.options) {
      if (option.string_key.empty()) {
        throw ConfigError(std::string(kCommandLine) + ": expected --section.key value, found '" + option.value.at(0) +
                          "'");
      }
      const bool value_is_next_token = option.original_tokens.size() == 2;
      if (value_is_next_token && option.value.at(0).starts_with("--")) {
        throw ConfigError(std::string(kCommandLine) + ": expected a value after --" + option.string_key + ", found '" +
                          option.value.at(0) + "'");
      }
      if (!seen.insert(option.string_key).second) {
        throw ConfigError(std::string(kCommandLine) + ": key " + option.string_key + " is given twice");
      }
      settings.push_back({option.string_key, option.value.at(0), kCommandLine});
    }
  } catch (const po::unknown_option& error) {
    const std::string name = error.get_option_name();
    const std::string key = name.substr(name.find_first_not_of('-'));
    throw_unknown(key.substr(0, key.find('=')), kCommandLine);
  } catch (const po::error& error) {
    throw ConfigError(std::string(kCommandLine) + ": " + error.what());
  }
  return settings;
}

/// The section of `name`, made at the end of the list where it is new.
RewardConfig& reward_named(Config& config, const std::string& name) {
  const auto found = std::find_if(config.rewards.begin(), config.rewards.end(),
                                  [&](const RewardConfig& reward) { return reward.name == name; });
  if (found != config.rewards.end()) return *found;
  config.rewards.push_back({.name = name});
  return config.rewards.back();
}

void set_reward(Config& config, const Setting& setting) {
  const std::string rest = setting.key.substr(kRewardPrefix.size());
  const std::string name = section_of(rest);
  const std::string key = after_dot(rest);
  if (name.empty() || key.empty() || key.find('.') != std::string::npos) {
    throw ConfigError(setting.where + ": expected a key of the form reward.NAME.key, found " + setting.key);
  }
  RewardConfig& reward = reward_named(config, name);
  if (key == "kind") {
    reward.kind = setting.value;
  } else if (key == "weight") {
    const std::optional<double> weight = parse_double(setting.value);
    if (!weight) {
      throw ConfigError(setting.where + ": " + setting.key + " = " + setting.value + ": expected a number");
    }
    reward.weight = *weight;
  } else {
    reward.parameters[key] = setting.value;
  }
}

void set(Config& config, const Setting& setting) {
  if (setting.key.starts_with(kRewardPrefix)) {
    set_reward(config, setting);
    return;
  }
  for (const Option& option : config_options()) {
    if (option.key != setting.key) continue;
    if (option.set(config, setting.value)) return;
    throw ConfigError(setting.where + ": " + setting.key + " = " + setting.value + ": expected " + option.expected);
  }
  throw_unknown(setting.key, setting.where);
}

void check_section(const SectionHeader& header) {
  std::vector<std::string> sections = {"reward"};
  for (const std::string& key : known_keys()) sections.push_back(section_of(key));
  if (std::find(sections.begin() + 1, sections.end(), header.name) != sections.end()) return;
  if (header.name.starts_with(kRewardPrefix) && header.name.size() > kRewardPrefix.size()) return;
  const std::string known = *nearest(section_of(header.name), sections);
  throw ConfigError(header.where + ": unknown section [" + header.name + "]; the nearest known one is [" +
                    (known == "reward" ? "reward.NAME" : known) + "]");
}

/// Key and printed value of every reward section, in order.
std::vector<std::pair<std::string, std::string>> reward_values(const RewardConfig& reward) {
  std::vector<std::pair<std::string, std::string>> values = {{"kind", reward.kind},
                                                             {"weight", shortest(reward.weight)}};
  values.insert(values.end(), reward.parameters.begin(), reward.parameters.end());
  return values;
}

/// The keys that change numbers, with their values. Rewards are numbered, because their sum depends on their order.
std::map<std::string, std::string> number_changing_values(const Config& config) {
  std::map<std::string, std::string> values;
  for (const Option& option : config_options()) {
    if (option.changes_numbers) values[option.key] = option.get(config);
  }
  for (std::size_t i = 0; i < config.rewards.size(); ++i) {
    const std::string prefix = std::string(kRewardPrefix) + config.rewards[i].name;
    values[prefix + " (place)"] = std::to_string(i + 1);
    for (const auto& [key, value] : reward_values(config.rewards[i])) values[prefix + "." + key] = value;
  }
  return values;
}

}  // namespace

Config load_config(const std::string& path, const std::vector<std::string>& overrides) {
  return parse_config(read_file(path), path, overrides);
}

Config parse_config(const std::string& text, const std::string& where, const std::vector<std::string>& overrides) {
  const IniText ini = scan_ini(text, where);
  Config config;
  for (const SectionHeader& header : ini.sections) {
    check_section(header);
    if (header.name.starts_with(kRewardPrefix)) reward_named(config, header.name.substr(kRewardPrefix.size()));
  }
  for (const Setting& setting : ini.settings) set(config, setting);
  for (const Setting& setting : parse_overrides(overrides)) set(config, setting);
  try {
    config.validate();
  } catch (const ConfigError& error) {
    throw ConfigError(where + ": " + error.what());
  }
  return config;
}

std::string print_config(const Config& config) {
  std::string text;
  std::string section;
  for (const Option& option : config_options()) {
    if (section_of(option.key) != section) {
      section = section_of(option.key);
      text += (text.empty() ? "[" : "\n[") + section + "]\n";
    }
    text += after_dot(option.key) + " = " + ini_value(option.key, option.get(config)) + "\n";
  }
  for (const RewardConfig& reward : config.rewards) {
    text += "\n[" + std::string(kRewardPrefix) + reward.name + "]\n";
    for (const auto& [key, value] : reward_values(reward)) text += key + " = " + ini_value(key, value) + "\n";
  }
  return text;
}

std::string config_hash(const Config& config) {
  Hasher hasher;
  for (const auto& [key, value] : number_changing_values(config)) {
    hasher.update_u64(key.size());
    hasher.update(key);
    hasher.update_u64(value.size());
    hasher.update(value);
  }
  return hasher.hex();
}

std::vector<std::string> config_differences(const Config& a, const Config& b) {
  const auto before = number_changing_values(a);
  const auto now = number_changing_values(b);
  std::set<std::string> keys;
  for (const auto& values : {before, now}) {
    for (const auto& [key, value] : values) keys.insert(key);
  }
  const auto value_in = [](const std::map<std::string, std::string>& values, const std::string& key) {
    const auto found = values.find(key);
    return found == values.end() ? std::string("(not there)") : found->second;
  };
  std::vector<std::string> differences;
  for (const std::string& key : keys) {
    const std::string from = value_in(before, key);
    const std::string to = value_in(now, key);
    if (from != to) differences.push_back(key + ": " + from + " -> " + to);
  }
  if (b.run.steps < a.run.steps) {
    differences.push_back("run.steps: " + std::to_string(a.run.steps) + " -> " + std::to_string(b.run.steps));
  }
  return differences;
}

std::string describe_keys() {
  const Config defaults;
  std::string text;
  for (const Option& option : config_options()) {
    text += option.key + " = " + option.get(defaults) + "  (" + option.expected + ") " + option.help + "\n";
  }
  text += "reward.NAME.kind =   (text) reward function of this component; its own keys stand beside it\n";
  text += "reward.NAME.weight = 1  (a number) factor of this component in the sum\n";
  return text;
}

}  // namespace troupe
