#include "common/tokenizer/tokenizer.h"
#include "tests/fuzz/fuzzing.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace troupe;
  fuzzing::expect_only_config_errors([&] {
    const Tokenizer tokenizer = Tokenizer::from_json(fuzzing::text_of(data, size), "fuzz");
    for (const char* text : {"", "Natalia sold 48  clips<|end|>\n", "e\u0301 \u6f22\u5b57 \U0001f600"}) {
      tokenizer.decode(tokenizer.encode(text, true), true);
    }
  });
  return 0;
}
