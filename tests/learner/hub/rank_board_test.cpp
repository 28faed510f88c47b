#include "learner/hub/rank_board.h"

#include <doctest/doctest.h>

#include "common/collective/thread_communicator.h"
#include "tests/common/collective/run_ranks.h"

namespace troupe::test {
namespace {

/// Rank 0 of 3 with deadlines of 10 s, 100 s in lengthy phases, at time 1000 s.
struct Board {
  ThreadWorld world{3};
  std::unique_ptr<Communicator> communicator = world.communicator(0);
  ManualClock clock;
  std::optional<RankBoard> board;

  Board() {
    clock.advance_ms(1'000'000);
    DeadlineConfig deadline;
    deadline.collective_s = 10;
    deadline.phase_s = 100;
    board.emplace(0, deadline, *communicator, clock);
    board->set(3, "optimizer");
  }
  void hear(const LearnerBeat& beat) { board->heard(beat); }
  void pass(double s) { clock.advance_ms(static_cast<std::int64_t>(s * 1000)); }
};

LearnerBeat beat_of(std::int64_t step, const std::string& phase, bool lengthy = false, std::uint64_t sequence = 5) {
  return {.rank = 1, .pid = 42, .step = step, .phase = phase, .lengthy = lengthy, .sequence = sequence};
}

TEST_SUITE("hub/rank_board") {
  TEST_CASE("a rank that was never heard of has the deadline of this rank's own phase") {
    Board b;
    CHECK(b.board->left_s(1, 4) == doctest::Approx(6));
    b.board->set(0, "load model", Pace::kLengthy);
    CHECK(b.board->left_s(1, 4) == doctest::Approx(96));
    CHECK(b.board->last_seen(1) == "not heard of yet");
  }

  TEST_CASE("a rank that moves on is waited for, however long it takes") {
    Board b;
    for (std::uint64_t sequence = 1; sequence <= 30; ++sequence) {
      b.hear(beat_of(3, "forward", false, sequence));
      CHECK(b.board->left_s(1, static_cast<double>(sequence)) > 8);
      b.pass(1);
    }
  }

  TEST_CASE("a rank that beats but stands still has the deadline of its phase") {
    Board b;
    for (int s = 0; s < 9; ++s, b.pass(1)) b.hear(beat_of(3, "forward"));
    CHECK(b.board->left_s(1, 9) == doctest::Approx(1));
    b.hear(beat_of(3, "checkpoint", true));
    for (int s = 0; s < 60; ++s, b.pass(1)) b.hear(beat_of(3, "checkpoint", true));
    CHECK(b.board->left_s(1, 60) == doctest::Approx(9));  // 40 s of the phase are left, and 9 s of silence
    b.hear(beat_of(3, "checkpoint", true));
    CHECK(b.board->left_s(1, 60) == doctest::Approx(10));
    for (int s = 0; s < 40; ++s, b.pass(1)) b.hear(beat_of(3, "checkpoint", true));
    CHECK(b.board->left_s(1, 100) <= 0);
  }

  TEST_CASE("a stopped rank is given up after the deadline of silence, in a lengthy phase too; what the hub relays does not revive it") {
    Board b;
    b.hear(beat_of(3, "checkpoint", true));
    for (std::uint64_t s = 0; s < 10; ++s, b.pass(1)) {
      LearnerBeat relayed = beat_of(3, "checkpoint", true);
      relayed.age_ms = 1000 * s;
      b.hear(relayed);
    }
    CHECK(b.board->left_s(1, 20) <= 0);
    CHECK(b.board->left_s(1, 4) == doctest::Approx(6));  // a wait that has just begun has its own time
    CHECK(b.board->last_seen(1) == "step 3, checkpoint, pid 42, heard of 10.0 s ago");
  }

  TEST_CASE("a rank that was told to stop says so in its beat, and every rank that hears it knows") {
    Board told, hears;
    CHECK_FALSE(told.board->told_to_stop());
    told.board->tell_to_stop();
    CHECK(told.board->told_to_stop());

    LearnerBeat beat = told.board->own();
    beat.rank = 1;
    hears.hear(beat_of(3, "forward"));
    CHECK_FALSE(hears.board->told_to_stop());
    hears.hear(beat);
    CHECK(hears.board->told_to_stop());
    CHECK_FALSE(hears.board->own().stop);
  }

  TEST_CASE("the beats for a reader are this rank's and those of the others but the reader, with their age") {
    Board b;
    b.hear(beat_of(3, "forward"));
    b.pass(0.4);
    LearnerBeat two = beat_of(2, "forward");
    two.rank = 2;
    b.hear(two);

    const auto beats = b.board->beats_for(2);

    REQUIRE(beats.size() == 2);
    CHECK(beats[0] == b.board->own());
    CHECK(beats[0].phase == "optimizer");
    CHECK(beats[1].rank == 1);
    CHECK(beats[1].age_ms == 400);
  }

  TEST_CASE("a collective names the step and phase of both sides, and waits for a peer that moves on") {
    const auto errors = run_ranks(2, 0.2, [&](Communicator& ranks) {
      const SteadyClock clock;
      DeadlineConfig deadline;
      deadline.collective_s = 0.2;
      RankBoard board(static_cast<std::uint32_t>(ranks.rank()), deadline, ranks, clock);
      board.set(7, "optimizer");
      if (ranks.rank() == 1) {
        const Deadline late = Deadline::after_ms(600);
        while (!late.expired()) std::this_thread::sleep_for(std::chrono::milliseconds(5));
        ranks.barrier();
        const Deadline gone = Deadline::after_ms(600);
        while (!gone.expired()) std::this_thread::sleep_for(std::chrono::milliseconds(5));
        return;
      }
      std::thread beats([&] {
        for (std::uint64_t sequence = 1; sequence <= 14; ++sequence) {
          board.heard(beat_of(7, "forward", false, sequence));
          std::this_thread::sleep_for(std::chrono::milliseconds(50));
        }
      });
      ranks.barrier();  // 0.6 s, three times the deadline
      beats.join();
      ranks.barrier();
    });

    CHECK(errors[1] == "");
    CHECK(errors[0].starts_with("learner rank 0 of 2 (step 7, optimizer): barrier, sequence 2: nothing from rank 1 within "));
    CHECK(errors[0].find("; rank 1: step 7, forward, pid 42, heard of ") != std::string::npos);
  }
}

}  // namespace
}  // namespace troupe::test
