#include "launch/rows_io.h"

#include <cerrno>
#include <cmath>
#include <cstring>

#include "common/base/error.h"
#include "common/data/json_lines.h"

namespace troupe {
namespace {

bool all_finite(const nlohmann::json& value) {
  if (value.is_number_float()) return std::isfinite(value.get<double>());
  if (!value.is_structured()) return true;
  for (const auto& part : value) {
    if (!all_finite(part)) return false;
  }
  return true;
}

}  // namespace

std::vector<Row> read_rows(const std::filesystem::path& path) {
  const JsonLines lines(path.string());
  std::vector<Row> rows;
  rows.reserve(lines.size());
  for (std::size_t i = 0; i < lines.size(); ++i) rows.push_back(lines.row(i));
  return rows;
}

bool is_own_output(const std::filesystem::path& path) {
  std::error_code absent;
  return std::filesystem::equivalent(path, "/proc/self/fd/1", absent) || std::filesystem::equivalent(path, "/proc/self/fd/2", absent);
}

RowsWriter::RowsWriter(const std::filesystem::path& path) : path_(path), written_(path) {
  namespace fs = std::filesystem;
  std::error_code ignored;
  const auto type = fs::status(path, ignored).type();
  const bool own = is_own_output(path);
  if (!own && (type == fs::file_type::regular || type == fs::file_type::not_found)) {  // a pipe or device is written as is
    if (fs::is_symlink(path)) path_ = fs::weakly_canonical(path);                      // the link itself stays
    written_ = path_;
    written_ += ".partial";
  }
  out_.open(written_, std::ios::binary | (own ? std::ios::app : std::ios::trunc));
  if (!out_) throw ConfigError(path.string() + ": cannot be written: " + std::strerror(errno));
}

RowsWriter::~RowsWriter() {
  if (closed_ || written_ == path_) return;
  out_.close();
  std::error_code ignored;
  std::filesystem::remove(written_, ignored);
}

void RowsWriter::write(const nlohmann::json& row) {
  if (!all_finite(row)) throw ConfigError(path_.string() + ": a number to be written is not finite: " + row.dump());
  write_line(row.dump());
}

void RowsWriter::write_line(const std::string& line) {
  out_ << line << '\n';
  if (!out_) throw TransportError(written_.string() + ": writing failed: " + std::strerror(errno));
}

void RowsWriter::close() {
  out_.close();
  if (!out_) throw TransportError(written_.string() + ": writing failed: " + std::strerror(errno));
  std::error_code error;
  if (written_ != path_) std::filesystem::rename(written_, path_, error);
  if (error)
    throw TransportError(path_.string() + ": cannot be renamed from " + written_.string() + ": " + error.message());
  closed_ = true;
}

}  // namespace troupe
