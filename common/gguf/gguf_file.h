#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <vector>

#include "common/base/files.h"
#include "common/gguf/dequantize.h"

namespace troupe {

/// A tensor of a GGUF file, as it lies there.
struct GgufTensor {
  BlockType type{};
  std::vector<std::int64_t> shape;  // outermost dimension first, as PyTorch has it
  std::int64_t elements = 0;
  std::span<const std::byte> bytes;  // of the mapped file
};

/// A mapped GGUF file of version 2 or 3 (the format of llama.cpp: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md). Every
/// length is compared with the bytes that are left before anything is allocated. Immutable: any thread.
class GgufFile {
 public:
  /// @throws ConfigError naming the file, the key or tensor, what was expected and what was found.
  explicit GgufFile(const std::filesystem::path& path);

  /// Numbers, texts, truth values and lists of them. A number of 32 bits after the point becomes the double of the shortest decimal
  /// text that means it, as configurations have it: 1e-05.
  const nlohmann::json& metadata() const { return metadata_; }
  const std::map<std::string, GgufTensor>& tensors() const { return tensors_; }
  /// The file's path, for errors.
  const std::string& where() const { return where_; }

 private:
  class Reader;
  void read_metadata(Reader& reader, std::uint64_t count);
  void read_tensors(Reader& reader, std::uint64_t count);

  std::string where_;
  MappedFile file_;
  nlohmann::json metadata_ = nlohmann::json::object();
  std::map<std::string, GgufTensor> tensors_;
};

}  // namespace troupe
