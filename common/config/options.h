#pragma once

#include <functional>
#include <string>
#include <vector>

#include "common/config/config.h"

namespace troupe {

/// The one declaration of a key: help, parsing, printing, range check and hash all come from it.
struct Option {
  std::string key;        // "section.name"
  std::string expected;   // "a whole number of at least 1"
  std::string help;
  bool changes_numbers;   // part of config_hash

  /// Sets the member from text; false, and nothing set, where the text is not as `expected`.
  std::function<bool(Config&, const std::string&)> set;
  /// The member as text that `set` reads back to the same value.
  std::function<std::string(const Config&)> get;
  /// Whether the member is in its range.
  std::function<bool(const Config&)> in_range;
};

/// Every key except those of the `[reward.NAME]` sections, section by section.
const std::vector<Option>& config_options();

}  // namespace troupe
