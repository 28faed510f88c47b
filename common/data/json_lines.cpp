#include "common/data/json_lines.h"

#include "common/base/error.h"
#include "common/base/files.h"
#include "common/base/strict_json.h"
#include "common/base/text.h"

namespace troupe {

JsonLines::JsonLines(const std::string& path) : path_(path), text_(read_file(path)) {
  constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";
  std::size_t begin = std::string_view(text_).starts_with(kByteOrderMark) ? kByteOrderMark.size() : 0;
  while (begin < text_.size()) {
    std::size_t end = text_.find('\n', begin);
    if (end == std::string::npos) end = text_.size();
    lines_.push_back({begin, end - begin});
    begin = end + 1;
  }
  const auto text_of = [&](const Line& line) { return trim(std::string_view(text_).substr(line.begin, line.size)); };
  while (!lines_.empty() && text_of(lines_.back()).empty()) lines_.pop_back();
  if (lines_.empty()) throw ConfigError(path_ + ": the file has no rows");
  for (std::size_t i = 0; i < lines_.size(); ++i) {
    if (text_of(lines_[i]).empty()) throw ConfigError(where(i) + ": expected a JSON object, found an empty line");
    row(i);
  }
}

Row JsonLines::row(std::size_t index) const {
  const Line& line = lines_.at(index);
  std::string text = text_.substr(line.begin, line.size);
  nlohmann::json json = parse_json(text, where(index));
  Row row{std::move(json), where(index), std::move(text)};
  if (!row.json.is_object()) {
    throw ConfigError(row.where + ": expected a JSON object, found " + std::string(row.json.type_name()));
  }
  return row;
}

std::string JsonLines::where(std::size_t index) const { return path_ + ":" + std::to_string(index + 1); }

}  // namespace troupe
