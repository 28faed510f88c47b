#include "launch/completions_file.h"

#include <doctest/doctest.h>

#include "common/base/error.h"
#include "tests/common/rollout_log/scratch_folder.h"

using namespace troupe;

TEST_SUITE("launch/completions_file") {
  TEST_CASE("a file goes on behind its last whole row, and knows how many of its rows were refused") {
    const ScratchFolder scratch;
    const auto path = scratch / "out.jsonl";
    const nlohmann::ordered_json terms = {{"seed", 1}};
    const std::string answered = "{\"prompt\":\"{\\\"error\\\":\"}\n{\"prompt\":\"b\"}\n", refused = "{\"error\":\"p:2: x\"}\n{\"error\":\"p:2: x\"}\n";
    {
      CompletionsFile file(path, terms, 2);
      CHECK(file.rows() == 0);
      file.out() << answered << refused << answered << "{\"error\":\"p:4: y\"}\n{\"err";  // killed within the fourth row
    }

    CompletionsFile file(path, terms, 2);

    CHECK(file.rows() == 3);
    CHECK(file.refused() == 1);
    file.out() << refused;
    file.close();
    CHECK(slurp(path) == answered + refused + answered + refused);
    CHECK_FALSE(std::filesystem::exists(scratch / "out.jsonl.unfinished"));
  }

  TEST_CASE("what cannot be written is told at once, not at the end") {
    CompletionsFile file("/dev/full", {}, 1);
    CHECK_NOTHROW(file.require_written());
    file.out() << "{}\n" << std::flush;
    CHECK_THROWS_WITH_AS(file.require_written(), "/dev/full: writing failed (is the disk full?)", TransportError);
  }
}
