#include "common/base/files.h"
#include "common/model/architecture.h"
#include "common/model/parameters.h"
#include "tests/common/rollout_log/scratch_folder.h"
#include "tests/fuzz/fuzzing.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace troupe;
  static const ScratchFolder scratch;
  const std::filesystem::path folder = scratch / "";
  spill(folder / "config.json", std::string(fuzzing::text_of(data, size)));
  fuzzing::expect_only_config_errors([&] {
    const Architecture a = read_architecture(folder);
    if (a.layers <= 64) check(ParameterLayout(a).total > 0, "the sizes of an architecture that is accepted do not overflow");
    if (a.head_size <= 4096) radians_a_position(a.rope_theta, a.head_size, a.rope_scaling);
    spill(folder / "config.json", architecture_json(a).dump());
    check(read_architecture(folder) == a, "what is written reads back the same");
  });
  return 0;
}
