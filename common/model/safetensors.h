#pragma once

#include <ATen/core/Tensor.h>

#include <filesystem>
#include <map>
#include <string>
#include <utility>
#include <vector>

namespace troupe {

/// Tensors of a .safetensors file by name; they alias a mapping of the file that lives as long as they do. The header
/// is checked as the reference implementation does (size caps, no holes, no overlap, shape x dtype == span, exact end,
/// duplicate names refused). @throws ConfigError naming file and tensor.
std::map<std::string, at::Tensor> read_safetensors(const std::filesystem::path& path);

/// The file's `__metadata__`.
std::map<std::string, std::string> read_safetensors_metadata(const std::filesystem::path& path);

/// Writes contiguous CPU tensors in the order given: temporary file, fsync, rename. @throws TransportError.
void write_safetensors(const std::filesystem::path& path,
                       const std::vector<std::pair<std::string, at::Tensor>>& tensors,
                       const std::map<std::string, std::string>& metadata = {{"format", "pt"}});

}  // namespace troupe
