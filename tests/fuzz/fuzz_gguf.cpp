#include <optional>

#include "common/gguf/gguf_tokenizer.h"
#include "common/model/gguf_checkpoint.h"
#include "common/tokenizer/tokenizer.h"
#include "tests/fuzz/fuzzing.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace troupe;
  const fuzzing::MemoryFile memory(fuzzing::text_of(data, size));
  std::optional<GgufFile> file;
  fuzzing::expect_only_config_errors([&] { file.emplace(memory.path()); });
  if (!file) return 0;
  for (const auto& [name, tensor] : file->tensors()) {
    std::vector<float> values(static_cast<std::size_t>(tensor.elements));
    dequantize(tensor.type, tensor.bytes, values);
  }
  fuzzing::expect_only_config_errors([&] { load_gguf(*file, at::kFloat); });
  fuzzing::expect_only_config_errors([&] {
    const Tokenizer tokenizer = Tokenizer::from_json(gguf_tokenizer(*file).tokenizer.dump(), "gguf");
    tokenizer.decode(tokenizer.encode("the  and then 2024\n<s>", true), true);
  });
  return 0;
}
