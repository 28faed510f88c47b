#pragma once

#include "common/gguf/gguf_file.h"
#include "common/model/parameters.h"

namespace troupe {

/// The architecture that a GGUF file's metadata and tensors describe: llama (SmolLM too), qwen2 or qwen3. @throws ConfigError naming the
/// key that is missing, wrong or not supported.
Architecture gguf_architecture(const GgufFile& file);

/// The file's weights, dequantized to fp32 as the reference does and then rounded to `dtype`, under Hugging Face's names and in its order
/// of rows. @throws ConfigError naming the tensor that is missing, extra or misshapen.
Parameters load_gguf(const GgufFile& file, at::ScalarType dtype);

}  // namespace troupe
