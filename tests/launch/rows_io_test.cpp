#include "launch/rows_io.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <unistd.h>

#include "tests/common/rollout_log/scratch_folder.h"

using namespace troupe;
namespace fs = std::filesystem;

TEST_SUITE("launch/rows_io") {
  TEST_CASE("rows appear under their name when they are complete, and under a link's target where it is one") {
    const ScratchFolder scratch;
    fs::create_directories(scratch / "far");
    spill(scratch / "far/rows", "before\n");
    fs::create_symlink(scratch / "far/rows", scratch / "link");
    {
      RowsWriter writer(scratch / "link");
      writer.write({{"a", 1}});
      CHECK(slurp(scratch / "link") == "before\n");
      writer.close();
    }
    CHECK(fs::is_symlink(scratch / "link"));
    CHECK(slurp(scratch / "far/rows") == "{\"a\":1}\n");
    CHECK_FALSE(fs::exists(scratch / "far/rows.partial"));

    { RowsWriter unfinished(scratch / "link"); }
    CHECK(slurp(scratch / "far/rows") == "{\"a\":1}\n");
    CHECK_FALSE(fs::exists(scratch / "far/rows.partial"));
  }

  TEST_CASE("what standard output goes to is told by what it is, not by its name") {
    const ScratchFolder scratch;
    spill(scratch / "other", "");
    spill(scratch / "output", "");
    fs::create_symlink(scratch / "output", scratch / "link");
    for (const int stream : {1, 2}) {
      const int file = ::open((scratch / "output").c_str(), O_WRONLY), before = ::dup(stream);
      CHECK_FALSE(is_own_output(scratch / "output"));
      ::dup2(file, stream);
      const bool told = is_own_output(scratch / "output") && is_own_output(scratch / "link");
      const bool told_too_much = is_own_output(scratch / "other") || is_own_output(scratch / "absent");
      ::dup2(before, stream);
      ::close(before);
      ::close(file);
      CHECK(told);
      CHECK_FALSE(told_too_much);
    }
  }
}
