#include "launch/command_line.h"

#include <sstream>

#include "common/base/error.h"

namespace troupe {

namespace po = boost::program_options;

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
  try {
    po::variables_map values;
    // No guessing: --sample must not be taken for --samples.
    const int style = po::command_line_style::default_style & ~po::command_line_style::allow_guessing;
    po::store(po::command_line_parser(own).options(all).positional(places).style(style).run(), values);
    po::notify(values);
    return values;
  } catch (const po::error& error) {
    throw ConfigError("troupe " + command + ": " + error.what() + "\n" + usage.str());
  }
}

}  // namespace troupe
