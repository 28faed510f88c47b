#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <vector>

#include "common/data/rows.h"

// What the commands that run a model over rows share.

namespace troupe {

/// fp32 or bf16. @throws ConfigError.
at::ScalarType dtype_named(const std::string& name);

/// Computes with so many threads from here on; 0: as many as there are cores. @throws ConfigError.
void use_threads(int threads);

/// The token ids under `ids`. @throws ConfigError naming the row and the id that is not in the vocabulary.
std::vector<std::int32_t> ids_of(const Row& row, std::int64_t vocabulary);

/// The text under `key`. @throws ConfigError naming the row.
std::string text_of(const Row& row, const char* key);

}  // namespace troupe
