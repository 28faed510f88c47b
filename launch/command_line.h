#pragma once

#include <map>
#include <string>
#include <vector>

#include <boost/program_options.hpp>

#include "common/base/error.h"

namespace troupe {

/// The process's environment as it was at start: read once in main, passed on.
using Environment = std::map<std::string, std::string>;

/// A command's arguments, split: `--section.key value` are overrides of the configuration, the rest is the command's own.
struct Arguments {
  std::vector<std::string> own;
  std::vector<std::string> overrides;
};
Arguments split_arguments(const std::vector<std::string>& words);

/// `--help` is among a command's arguments: what() is its usage. No failure.
class UsageAsked : public Error {
 public:
  using Error::Error;
};

/// Parses a command's own arguments. `positional` names the arguments without dashes, in order; each is required.
/// @throws ConfigError naming what is unknown, missing or one too many, with the command's usage, or a count below 0;
/// UsageAsked.
boost::program_options::variables_map parse_own(const std::string& command, const std::vector<std::string>& own,
                                                const boost::program_options::options_description& options,
                                                const std::vector<std::string>& positional);

}  // namespace troupe
