#include "common/chat/chat_template.h"
#include "tests/fuzz/fuzzing.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace troupe;
  static const auto conversation = nlohmann::ordered_json::parse(
      R"([{"role": "system", "content": "Be brief."}, {"role": "user", "content": "2+2?"}, {"role": "assistant", "content": "<think>a</think>4"}])");
  fuzzing::expect_only_config_errors([&] {
    ChatOptions options;
    options.add_generation_prompt = true;
    options.date = "2024-07-06";
    ChatTemplate::from_text(fuzzing::text_of(data, size), "fuzz", {{"bos_token", "<s>"}, {"eos_token", "</s>"}}).render(conversation, options);
  });
  return 0;
}
