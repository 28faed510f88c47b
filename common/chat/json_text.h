#pragma once

#include <optional>
#include <string>

#include "common/chat/value.h"

namespace troupe {

/// How Python's json.dumps writes. The defaults are those of the filter `tojson` in transformers.
struct JsonStyle {
  bool ensure_ascii = false;
  bool sort_keys = false;
  std::optional<std::string> indent;  // of one level; none: all on one line
  std::string item_separator = ", ";
  std::string key_separator = ": ";
};

/// json.dumps(value). @throws ConfigError for what JSON cannot hold.
std::string json_text(const Value& value, const JsonStyle& style, Meter& meter);

}  // namespace troupe
