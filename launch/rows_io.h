#pragma once

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "common/data/rows.h"

namespace troupe {

/// All rows of a JSONL file in order, each with its place ("in.jsonl:17"). @throws ConfigError naming file and row.
std::vector<Row> read_rows(const std::filesystem::path& path);

/// Whether the path leads to what standard output or error goes to, such as /dev/stdout. That is written as is and at its end: another
/// file under the name of /dev/stdout would take it from the whole machine.
bool is_own_output(const std::filesystem::path& path);

/// Writes one JSON object a line, in the order of the calls. Numbers are written so that they read back as the same
/// bits. A regular file appears under its name when it is complete; until then it is `path`.partial. A pipe,
/// a device or the command's own output is written as is, and a link stays one.
class RowsWriter {
 public:
  /// @throws ConfigError where the file cannot be created.
  explicit RowsWriter(const std::filesystem::path& path);
  ~RowsWriter();
  RowsWriter(const RowsWriter&) = delete;
  RowsWriter& operator=(const RowsWriter&) = delete;

  /// @throws ConfigError where a number is not finite (JSON has no such), TransportError where the disk is full.
  void write(const nlohmann::json& row);
  /// The same of a row that is written already, without the newline. @throws TransportError.
  void write_line(const std::string& line);
  /// Gives the file its name. Without it nothing but the partial file's removal happens. @throws TransportError.
  void close();

 private:
  std::filesystem::path path_;
  std::filesystem::path written_;  // where the rows go until close()
  std::ofstream out_;
  bool closed_ = false;
};

}  // namespace troupe
