#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "common/collective/collective_queue.h"
#include "common/base/error.h"
#include "tests/common/collective/run_ranks.h"
#include "tests/common/collective/verb_cases.h"

using namespace troupe;

TEST_SUITE("common/collective/group_communicator") {
  TEST_CASE("every verb of a group agrees with a naive loop, for neighbours, for every second rank and for all") {
    const auto errors = run_ranks(4, 30, [](Communicator& ranks) {
      for (const int color : {ranks.rank() / 2, ranks.rank() % 2, 0, ranks.rank()}) {
        CAPTURE(color);
        verb_cases::check_every_verb(*ranks.split(color));
        verb_cases::check_all_reduce<float>(ranks, 1000);
      }
    });

    for (const std::string& error : errors) CHECK(error == "");
  }

  TEST_CASE("a group has the ranks of one color in their order, and its steps count as progress of all") {
    const auto errors = run_ranks(5, 30, [](Communicator& ranks) {
      const int color = ranks.rank() == 1 || ranks.rank() == 4 ? 7 : -2;
      const auto group = ranks.split(color);
      std::vector<int> members(static_cast<std::size_t>(group->size()));
      const int own = ranks.rank();
      const std::uint64_t before = ranks.progress().sequence;
      group->all_gather(std::as_bytes(std::span(&own, 1)), std::as_writable_bytes(std::span(members)), "members");
      CHECK(members == (color == 7 ? std::vector<int>{1, 4} : std::vector<int>{0, 2, 3}));
      CHECK(members[static_cast<std::size_t>(group->rank())] == own);
      CHECK(ranks.progress().sequence == before + 1);
      CHECK(group->progress().sequence == 1);
      const double waited_s = ranks.waited_s();
      group->barrier();
      CHECK((group->size() == 1 || ranks.waited_s() > waited_s));
      CHECK(group->waited_s() == ranks.waited_s());
    });

    for (const std::string& error : errors) CHECK(error == "");
  }

  TEST_CASE("groups that do unequal numbers of steps still meet in the whole") {
    const auto errors = run_ranks(4, 30, [](Communicator& ranks) {
      const auto group = ranks.split(ranks.rank() / 2);
      for (int i = 0; i <= 3 * (ranks.rank() / 2); ++i) group->barrier();
      verb_cases::check_all_reduce<float>(ranks, 10);
    });

    for (const std::string& error : errors) CHECK(error == "");
  }

  TEST_CASE("a member that is gone ends the others by their numbers in the whole, with what the group did") {
    const auto errors = run_ranks(4, 30, [](Communicator& ranks) {
      const auto group = ranks.split(ranks.rank() / 2);
      if (ranks.rank() == 3) return;
      std::vector<float> rows(3);
      group->all_reduce_sum(std::span(rows), "rows");
      ranks.barrier();
    });

    CHECK(errors[2] == "learner rank 2 of 4: all_reduce_sum of rows, sequence 1: nothing from rank 3 and nothing will come: it has left");
    CHECK(errors[0].starts_with("learner rank 0 of 4: barrier, sequence 2: nothing from rank"));
  }

  TEST_CASE("a queue of collectives is not split") {
    const auto errors = run_ranks(1, 30, [](Communicator& ranks) {
      CollectiveQueue queue(ranks);
      CHECK_THROWS_AS(queue.split(0), InternalError);
    });

    CHECK(errors[0] == "");
  }
}
