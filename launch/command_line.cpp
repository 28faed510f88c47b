#include "launch/command_line.h"

#include <algorithm>
#include <cstdint>
#include <sstream>
#include <typeinfo>

namespace troupe {

namespace po = boost::program_options;

namespace {

/// A count below 0, which Boost would wrap around: -1 to the greatest number that there is.
void refuse_negative_counts(const po::parsed_options& words) {
  for (const po::option& option : words.options) {
    const auto* declared = words.description->find_nothrow(option.string_key, false);
    const auto* typed = declared == nullptr ? nullptr : dynamic_cast<const po::typed_value_base*>(declared->semantic().get());
    if (typed == nullptr || (typed->value_type() != typeid(std::uint32_t) && typed->value_type() != typeid(std::uint64_t))) continue;
    if (option.value.at(0).starts_with('-')) {
      throw ConfigError("--" + option.string_key + " = " + option.value.at(0) + ": expected a whole number of at least 0");
    }
  }
}

}  // namespace

Arguments split_arguments(const std::vector<std::string>& words) {
  Arguments arguments;
  for (std::size_t i = 0; i < words.size(); ++i) {
    const std::string name = words[i].substr(0, words[i].find('='));
    if (!name.starts_with("--") || name.find('.') == std::string::npos) {
      arguments.own.push_back(words[i]);
      continue;
    }
    arguments.overrides.push_back(words[i]);
    if (name.size() == words[i].size() && i + 1 < words.size()) arguments.overrides.push_back(words[++i]);
  }
  return arguments;
}

po::variables_map parse_own(const std::string& command, const std::vector<std::string>& own, const po::options_description& options,
                            const std::vector<std::string>& positional) {
  po::options_description all;
  all.add(options);
  po::options_description hidden;
  po::positional_options_description places;
  for (const std::string& name : positional) {
    hidden.add_options()(name.c_str(), po::value<std::string>()->required());
    places.add(name.c_str(), 1);
  }
  all.add(hidden);
  std::ostringstream usage;
  usage << "usage: troupe " << command;
  for (const std::string& name : positional) usage << ' ' << name;
  if (!options.options().empty()) usage << " [options]\n" << options;
  if (std::find(own.begin(), own.end(), "--help") != own.end()) throw UsageAsked(usage.str());
  try {
    po::variables_map values;
    // No guessing: --sample must not be taken for --samples.
    const int style = po::command_line_style::default_style & ~po::command_line_style::allow_guessing;
    const auto parsed = po::command_line_parser(own).options(all).positional(places).style(style).run();
    refuse_negative_counts(parsed);
    po::store(parsed, values);
    po::notify(values);
    return values;
  } catch (const po::error& error) {
    throw ConfigError(std::string(error.what()) + "\n" + usage.str());
  }
}

}  // namespace troupe
