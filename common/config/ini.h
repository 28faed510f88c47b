#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace troupe {

/// One `key = value` with the section's name in front ("run.seed"), and where it stands ("a.cfg:3", "command line").
struct Setting {
  std::string key;
  std::string value;
  std::string where;
};

/// A `[name]` line.
struct SectionHeader {
  std::string name;
  std::string where;
};

struct IniText {
  std::vector<SectionHeader> sections;
  std::vector<Setting> settings;
};

/// Takes an INI text apart. A comment is '#' or ';' at the start of a line, or '#' after white space. A value in double
/// quotes is taken literally, with "" for a quote. @throws ConfigError naming `where` and the line: no '=', an unfinished
/// quote, a section or key that is there twice.
IniText scan_ini(std::string_view text, const std::string& where);

/// `value` as scan_ini reads it back: in quotes where it must be. @throws ConfigError where it holds a line break.
std::string ini_value(const std::string& key, const std::string& value);

}  // namespace troupe
