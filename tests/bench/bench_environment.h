#pragma once

#include <unistd.h>

#include <map>
#include <string>

namespace troupe::bench {

/// This process's environment, by name.
inline std::map<std::string, std::string> environment() {
  std::map<std::string, std::string> found;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string text = *entry;
    const auto equals = text.find('=');
    if (equals != std::string::npos) found[text.substr(0, equals)] = text.substr(equals + 1);
  }
  return found;
}

}  // namespace troupe::bench
