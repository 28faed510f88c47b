#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "common/data/rows.h"

namespace troupe {

/// The rows of a JSONL file, kept as text: one JSON object a line, checked when it is opened. A byte-order mark, CRLF,
/// a last line without newline and empty lines at the end are accepted. Immutable: any thread.
class JsonLines {
 public:
  /// @throws ConfigError naming the file, and the row ("file.jsonl:17") that is malformed, empty, not UTF-8, has a key
  /// twice or is not an object; or saying that the file has no rows.
  explicit JsonLines(const std::string& path);

  std::size_t size() const { return lines_.size(); }
  /// The row at `index` < size().
  Row row(std::size_t index) const;

 private:
  struct Line {
    std::size_t begin;
    std::size_t size;
  };
  std::string where(std::size_t index) const;

  std::string path_;
  std::string text_;
  std::vector<Line> lines_;
};

}  // namespace troupe
