#pragma once

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <ostream>
#include <string>

#include <nlohmann/json.hpp>

namespace troupe {

/// The file of completions, which a killed generation goes on with. Until it is complete, `PATH.unfinished` beside it says with
/// what options it was begun.
class CompletionsFile {
 public:
  /// `terms`: everything that a completion depends on. @throws ConfigError where an unfinished file was begun with other ones.
  CompletionsFile(const std::filesystem::path& path, const nlohmann::ordered_json& terms, std::uint32_t samples);

  /// That were complete before this start, and how many of them had been refused.
  std::uint64_t rows() const { return rows_; }
  std::uint64_t refused() const { return refused_; }
  std::ostream& out() { return out_; }

  /// @throws TransportError where something could not be written.
  void require_written() const;

  /// It is complete. @throws TransportError.
  void close();

 private:
  /// Cuts the file behind its last whole row and opens it for more.
  void resume(const nlohmann::ordered_json& terms, std::uint32_t samples);

  std::string path_, unfinished_;
  std::ofstream out_;
  std::uint64_t rows_ = 0, refused_ = 0;
};

}  // namespace troupe
