#include "launch/trace.h"

#include <doctest/doctest.h>

using namespace troupe;

namespace {

/// "ph name ts [dur]" of the events that are no metadata, on the process of this name.
std::vector<std::string> events_of(const nlohmann::json& events, const std::string& process) {
  int pid = -1;
  for (const auto& event : events) {
    if (event["ph"] == "M" && event["name"] == "process_name" && event["args"]["name"] == process) pid = event["pid"];
  }
  std::vector<std::string> found;
  for (const auto& event : events) {
    const std::string phase = event["ph"];
    if (event["pid"] != pid || phase == "M" || phase == "C") continue;
    std::string text = phase + " " + event["name"].get<std::string>() + " " + event["ts"].dump();
    if (event.contains("dur")) text += " " + event["dur"].dump();
    if (event.contains("args") && event["args"].contains("lost")) text += ", " + event["args"]["lost"].get<std::string>();
    found.push_back(text);
  }
  return found;
}

using Texts = std::vector<std::string>;
constexpr Purpose kTrain = Purpose::kTrain;

}  // namespace

TEST_SUITE("launch/trace") {
  TEST_CASE("a step with its parts, a group from lease to score, and a lease that was lost") {
    const std::vector<LedgerRecord> records = {
        RunStarted{},
        AttemptStarted{1, 0, 100.0},
        GroupLeased{7, 1, 1, kTrain, 0, "actor 0 @a", 100.5},
        GroupLeased{8, 2, 1, kTrain, 0, "actor 1 @a", 100.6},
        LeaseLost{8, kTrain, 2, "actor 1 @a stalled", 101.0},
        GroupLeased{8, 3, 2, kTrain, 0, "actor 0 @a", 101.0},
        GroupRolledOut{7, kTrain, 1, 0, 40, 101.5},
        GroupScored{7, kTrain, "", {}, "rewarder 0 @b", 0.5, 101.75},
        GroupRolledOut{8, kTrain, 3, 0, 40, 102.0},
        LeaseLost{8, kTrain, 4, "rewarder 0 @b is gone", 102.1},
        GroupScored{8, kTrain, "", {}, "rewarder 1 @b", 0.25, 102.5},
        BatchChosen{1, {7, 8}, {}, {}, 2},
        StepTrained{.step = 1, .unix_s = 104.0, .loss = 0.5, .world_size = 2},
        GroupLeased{9, 5, 1, kTrain, 1, "actor 0 @a", 104.25},
        AttemptStarted{2, 1, 110.0},
        RunFinished{1, "", 111.0},
    };
    const nlohmann::json events = trace_events(records, {{1, {{"step_s", 3.5}, {"wait_s", 2.0}, {"train_s", 1.0}, {"collective_wait_s", 0.125}, {"publish_s", 0.25}}}});
    CHECK(events_of(events, "actor 0 @a") == Texts{"b generate group 7 500000", "b generate group 8 1000000", "e generate group 7 1500000",
                                                   "e generate group 8 2000000", "b generate group 9 4250000",
                                                   "e generate group 9 4250000, the attempt ended"});
    CHECK(events_of(events, "actor 1 @a") == Texts{"b generate group 8 600000", "e generate group 8 1000000, actor 1 @a stalled"});
    CHECK(events_of(events, "rewarder 0 @b") == Texts{"b score group 7 1500000", "e score group 7 1750000"});
    CHECK(events_of(events, "rewarder 1 @b") == Texts{"b score group 8 2000000", "e score group 8 2500000"});
    CHECK(events_of(events, "learners") == Texts{"i attempt 1 after step 0 0", "X step 1 500000 3500000", "X wait for groups 500000 2000000",
                                                 "X train 2750000 1000000", "X publish 3750000 250000", "i attempt 2 after step 1 10000000",
                                                 "i finished 11000000"});
    const auto train = std::find_if(events.begin(), events.end(), [](const auto& event) { return event["name"] == "train"; });
    CHECK((*train)["args"]["collective_wait_s"] == 0.125);
    for (const auto& event : events) {
      if (event["ph"] == "b") CHECK(std::count_if(events.begin(), events.end(), [&](const auto& e) { return e.value("id", 0) == event["id"]; }) == 2);
    }
  }

  TEST_CASE("of a long run the last events are there, and every name") {
    std::vector<LedgerRecord> records;
    for (std::uint64_t i = 0; i < 100'100; ++i) {
      const double now = 10 + static_cast<double>(i);
      records.push_back(GroupLeased{i, i, 1, kTrain, 0, i < 50 ? "early" : "late", now});
      records.push_back(GroupRolledOut{i, kTrain, i, 0, 1, now + 0.5});
    }
    const nlohmann::json events = trace_events(records, {});
    CHECK(events.size() == 200'000);
    CHECK(events.back()["name"] == "generate group 100099");
    CHECK(events_of(events, "early").empty());
    CHECK(events_of(events, "late").size() > 199'900);
  }
}
