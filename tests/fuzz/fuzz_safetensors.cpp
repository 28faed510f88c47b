#include <numeric>

#include "common/model/safetensors.h"
#include "tests/fuzz/fuzzing.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace troupe;
  const fuzzing::MemoryFile file(fuzzing::text_of(data, size));
  fuzzing::expect_only_config_errors([&] {
    std::size_t bytes = 0;
    for (const auto& [name, tensor] : read_safetensors(file.path())) {
      const auto* first = static_cast<const std::uint8_t*>(tensor.const_data_ptr());
      bytes = std::accumulate(first, first + tensor.nbytes(), bytes);  // all of a tensor's bytes can be read
    }
    check(bytes <= 255 * size, "tensors lie within their file");
  });
  fuzzing::expect_only_config_errors([&] { read_safetensors_metadata(file.path()); });
  return 0;
}
