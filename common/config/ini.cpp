#include "common/config/ini.h"

#include <map>

#include "common/base/error.h"
#include "common/base/text.h"

namespace troupe {
namespace {

/// The text before a '#' that stands at its start or after white space.
std::string_view without_comment(std::string_view text) {
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '#' && (i == 0 || text[i - 1] == ' ' || text[i - 1] == '\t')) return text.substr(0, i);
  }
  return text;
}

std::string unquote(std::string_view text, const std::string& where) {
  std::string value;
  for (std::size_t i = 1; i < text.size(); ++i) {
    if (text[i] != '"') {
      value += text[i];
    } else if (i + 1 < text.size() && text[i + 1] == '"') {
      value += text[i++];
    } else {
      const std::string rest(trim(without_comment(text.substr(i + 1))));
      if (rest.empty()) return value;
      throw ConfigError(where + ": expected nothing after the closing quote, found '" + rest + "'");
    }
  }
  throw ConfigError(where + ": the quoted value has no closing quote: " + std::string(text));
}

/// Notes that `name` is at `where`; it must be there for the first time.
void note_once(std::map<std::string, std::string>& seen, const std::string& what, const std::string& name,
               const std::string& where) {
  const auto [first, fresh] = seen.emplace(name, where);
  if (!fresh) throw ConfigError(where + ": " + what + " " + name + " is given twice, first at " + first->second);
}

}  // namespace

IniText scan_ini(std::string_view text, const std::string& where) {
  constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";
  if (text.starts_with(kByteOrderMark)) text.remove_prefix(kByteOrderMark.size());
  IniText ini;
  std::map<std::string, std::string> sections;
  std::map<std::string, std::string> keys;
  std::string prefix;
  int number = 0;
  for (const std::string_view raw : split(text, '\n')) {
    const std::string here = where + ":" + std::to_string(++number);
    const std::string_view line = trim(raw);
    if (line.empty() || line[0] == '#' || line[0] == ';') continue;
    if (line[0] == '[') {
      const std::string_view header = trim(without_comment(line));
      const std::string name(trim(header.substr(1, header.size() - 2)));
      if (!header.ends_with(']') || name.empty()) {
        throw ConfigError(here + ": expected [section], found '" + std::string(line) + "'");
      }
      note_once(sections, "section", "[" + name + "]", here);
      ini.sections.push_back({name, here});
      prefix = name + ".";
      continue;
    }
    const std::size_t equals = line.find('=');
    const std::string key(trim(line.substr(0, equals)));
    if (equals == std::string_view::npos || key.empty()) {
      throw ConfigError(here + ": expected key = value, found '" + std::string(line) + "'");
    }
    const std::string_view value = trim(line.substr(equals + 1));
    note_once(keys, "key", prefix + key, here);
    ini.settings.push_back({prefix + key,
                            value.starts_with('"') ? unquote(value, here) : std::string(trim(without_comment(value))),
                            here});
  }
  return ini;
}

std::string ini_value(const std::string& key, const std::string& value) {
  if (value.find_first_of("\r\n") != std::string::npos) {
    throw ConfigError(key + " holds a line break, which a configuration file cannot hold: '" + value + "'");
  }
  if (trim(value) == value && !value.starts_with('"') && without_comment(value) == value) return value;
  std::string quoted = "\"";
  for (const char c : value) quoted += c == '"' ? std::string("\"\"") : std::string(1, c);
  return quoted + '"';
}

}  // namespace troupe
