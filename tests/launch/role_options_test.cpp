#include "launch/role_options.h"

#include <doctest/doctest.h>
#include <unistd.h>

#include <filesystem>

#include "common/base/error.h"
#include "common/base/files.h"
#include "common/config/run_folder.h"
#include "tests/common/rollout_log/scratch_folder.h"

using namespace troupe;

TEST_SUITE("launch/role_options") {
  TEST_CASE("a role connects to a hub whose run goes on, and no more once that is finished and nobody goes on with it") {
    const ScratchFolder scratch;
    RoleOptions options;
    options.folder.root = scratch / "run";
    std::filesystem::create_directories(options.folder.root);
    write_hub_address(options.folder, {"tcp://127.0.0.1:9", 1, host_name(), 1});  // stays there when the run ends
    const auto before = hub_connector(options, {});
    CHECK(before());
    spill(options.folder.summary(), "{}");

    CHECK_THROWS_WITH_AS(before(), (options.folder.summary().string() + " is there: the run is finished").c_str(), ConfigError);
    const auto after = hub_connector(options, {});  // of an actor that is early for more steps of the finished run
    CHECK(after());
    {
      const FolderLock goes_on(options.folder.lock());
      CHECK(before());
    }
    std::filesystem::remove(options.folder.summary());
    CHECK(before());
    CHECK(after());
  }
}
