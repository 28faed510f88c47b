#include "learner/hub/ledger.h"

#include <doctest/doctest.h>

#include <filesystem>
#include <fstream>
#include <limits>
#include <map>
#include <set>

#include "common/base/checksum.h"
#include "common/base/error.h"
#include "tests/common/messages/samples.h"
#include "tests/common/rollout_log/scratch_folder.h"

namespace troupe::test {
namespace {

namespace fs = std::filesystem;

/// A run in which group 0 trains, 1 is filtered, 2 goes back to the front, 3 loses its lease, 4 and 5 are under way.
std::vector<LedgerRecord> story() {
  return {
      RunStarted{"config", "chash", "whash", "run-1"},
      AttemptStarted{1, 0, 100.0},
      GroupLeased{0, 10, 0, Purpose::kTrain, 0, "actor 0", 1.5},
      GroupLeased{1, 11, 0, Purpose::kTrain, 0, "actor 0", 1.5},
      GroupLeased{2, 12, 0, Purpose::kTrain, 0, "actor 1", 1.5},
      GroupLeased{3, 13, 0, Purpose::kTrain, 0, "actor 1", 1.5},
      GroupLeased{0, 14, 0, Purpose::kEvaluate, 0, "actor 1", 1.5},
      GroupRolledOut{0, Purpose::kTrain, 10, 0, 7},
      GroupRolledOut{1, Purpose::kTrain, 11, 0, 5},
      GroupRolledOut{2, Purpose::kTrain, 12, 0, 3},
      LeaseLost{3, Purpose::kTrain, 13, "actor 1: gone"},
      LeaseLost{2, Purpose::kTrain, 20, "rewarder 0: gone"},
      GroupScored{0, Purpose::kTrain, "h0", {1, 64, 30}, "rewarder 0", 0.5},
      GroupScored{1, Purpose::kTrain, "h1", {1, 94, 30}, "rewarder 0", 1.0},
      GroupScored{2, Purpose::kTrain, "h2", {1, 124, 30}, "rewarder 0", 1.0},
      GroupRefused{1, "filtered", false},
      GroupRefused{2, "stale", true},
      BatchChosen{1, {0}, {"h0"}, {{1, 64, 30}}, 2},
      StepTrained{1, "w1", 160.0},
      GroupLeased{4, 15, 0, Purpose::kTrain, 1, "actor 0", 1.5},
      GroupLeased{5, 16, 0, Purpose::kTrain, 1, "actor 0", 1.5},
      GroupRolledOut{5, Purpose::kTrain, 16, 1, 2},
  };
}

/// The story, and one of each kind that is not in it.
std::vector<LedgerRecord> every_record() {
  std::vector<LedgerRecord> records = story();
  records.push_back(Evaluated{1, 0.25, 0.5, 64});
  records.push_back(CheckpointWritten{1, "checkpoints/step-1"});
  records.push_back(RunFinished{1, "f", 3.5});
  records.push_back(AttemptStopped{1, 75, "preempted", 4.5});
  records.push_back(LogsPruned{3, {0, 7}, 5.5});
  return records;
}

LedgerState fold(const std::vector<LedgerRecord>& records) {
  LedgerState state;
  for (const LedgerRecord& record : records) state.apply(record);
  return state;
}

GroupState state_of(const LedgerState& state, std::uint64_t group) { return state.groups.at(group).state; }

TEST_SUITE("hub/ledger") {
  TEST_CASE("the fold gives every group's state, the counts and the next number") {
    const LedgerState s = fold(story());

    CHECK(state_of(s, 0) == GroupState::kTrained);
    CHECK(s.groups.at(0).step == 1);
    CHECK(s.groups.at(0).place == RolloutPlace{1, 64, 30});
    CHECK(state_of(s, 1) == GroupState::kRefused);
    CHECK(state_of(s, 2) == GroupState::kOpen);
    CHECK(state_of(s, 3) == GroupState::kOpen);
    CHECK(state_of(s, 4) == GroupState::kLeased);
    CHECK(state_of(s, 5) == GroupState::kRolledOut);
    CHECK(s.groups.at(5).lowest_version == 1);
    CHECK(s.evaluating.size() == 1);
    CHECK(s.next_group == 6);
    CHECK(s.last_chosen_step == 1);
    CHECK(s.last_trained_step == 1);
    CHECK(s.trained.at(1).weights_hash == "w1");
    CHECK(s.refused == std::map<std::string, std::int64_t>{{"filtered", 1}});
    CHECK(s.refused_again == std::map<std::string, std::int64_t>{{"stale", 1}});
    CHECK(s.tokens_generated == 17);
    CHECK(s.tokens_trained == 7);
    CHECK(s.wall_s == 60.0);
  }

  TEST_CASE("a new attempt voids the leases of the old one and keeps scored groups") {
    std::vector<LedgerRecord> records = story();
    records.push_back(GroupScored{5, Purpose::kTrain, "h5", {}, "rewarder 0", 0});
    records.push_back(AttemptStarted{2, 1, 1000.0});
    const LedgerState s = fold(records);

    CHECK(state_of(s, 4) == GroupState::kOpen);
    CHECK(state_of(s, 5) == GroupState::kScored);
    CHECK(s.evaluating.empty());
    CHECK(s.attempts == 2);
    CHECK(s.wall_s == 60.0);  // the time between the attempts is nobody's
  }

  TEST_CASE("a run ends when every group has a final state; an attempt after it opens what was unused") {
    std::vector<LedgerRecord> records = story();
    for (const std::uint64_t group : {2U, 3U, 4U, 5U}) records.push_back(GroupRefused{group, "unused", false});
    records.push_back(RunFinished{1, "f", 170.0});
    LedgerState s = fold(records);
    CHECK(s.finished->final_hash == "f");
    CHECK(s.refused.at("unused") == 4);
    CHECK(s.wall_s == 70.0);

    s.apply(AttemptStarted{2, 1, 0});
    CHECK_FALSE(s.finished);
    CHECK_FALSE(s.refused.contains("unused"));
    CHECK(state_of(s, 4) == GroupState::kOpen);
    CHECK(state_of(s, 1) == GroupState::kRefused);
  }

  TEST_CASE("an attempt that stopped itself is remembered until the next one; pruned files are for good, after the end too") {
    std::vector<LedgerRecord> records = story();
    records.push_back(AttemptStopped{1, 1, "not learning", 165.0});
    LedgerState s = fold(records);
    REQUIRE(s.stopped);
    CHECK(s.stopped->exit_code == 1);
    CHECK(s.stopped->reason == "not learning");
    s.apply(AttemptStarted{2, 1, 200.0});
    CHECK_FALSE(s.stopped);
    for (const std::uint64_t group : {2U, 3U, 4U, 5U}) s.apply(GroupRefused{group, "unused", false});
    s.apply(RunFinished{1, "f", 210.0});
    s.apply(LogsPruned{2, {0, 3}, 220.0});
    CHECK(s.finished);
    CHECK(s.pruned_files == std::set<std::uint32_t>{0, 3});
    CHECK_THROWS_AS(s.apply(CheckpointWritten{1, "step-1"}), ConfigError);
  }

  TEST_CASE("what breaks an invariant is refused by name") {
    struct Case {
      LedgerRecord record;
      const char* message;
    };
    const Case cases[] = {
        {RunStarted{}, "ledger: a second run_started record"},
        {AttemptStarted{1, 0, 0}, "ledger: attempt 1 follows attempt 1"},
        {GroupLeased{0, 99, 0, Purpose::kTrain, 0, "", 0}, "ledger: group 0 leased while trained"},
        {GroupLeased{1, 99, 0, Purpose::kTrain, 0, "", 0}, "ledger: group 1 leased while refused"},
        {GroupLeased{4, 99, 0, Purpose::kTrain, 0, "", 0}, "ledger: group 4 leased while leased"},
        {GroupRolledOut{4, Purpose::kTrain, 99, 0, 1}, "ledger: group 4 is under lease 15, not 99"},
        {GroupRolledOut{9, Purpose::kTrain, 15, 0, 1}, "ledger: group 9 was never leased"},
        {GroupRolledOut{2, Purpose::kTrain, 12, 0, 1}, "ledger: group 2 rolled out while open"},
        {LeaseLost{4, Purpose::kTrain, 99, ""}, "ledger: group 4 is under lease 15, not 99"},
        {LeaseLost{2, Purpose::kTrain, 12, ""}, "ledger: group 2 lost its lease while open"},
        {GroupScored{4, Purpose::kTrain, "", {}, "", 0}, "ledger: group 4 scored while leased"},
        {GroupScored{0, Purpose::kEvaluate, "", {}, "", 0}, "ledger: evaluation group 0 scored while leased"},
        {GroupRefused{0, "stale", true}, "ledger: group 0 refused while trained"},
        {GroupRefused{1, "unused", false}, "ledger: group 1 refused while refused"},
        {GroupRefused{9, "unused", false}, "ledger: group 9 refused without a lease"},
        {BatchChosen{3, {}, {}, {}, 1}, "ledger: batch of step 3 chosen after that of step 1"},
        {BatchChosen{2, {0}, {"h0"}, {{1, 64, 30}}, 1}, "ledger: group 0 of step 2 chosen while trained"},
        {BatchChosen{2, {9}, {"h9"}, {{}}, 1}, "ledger: group 9 of step 2 was never leased"},
        {BatchChosen{2, {0}, {}, {{}}, 1}, "ledger: batch of step 2 has 1 groups, 0 hashes and 1 places"},
        {StepTrained{2, "", 0}, "ledger: step 2 trained after step 1 with batches up to step 1"},
        {RunFinished{2, "", 0}, "ledger: the run ended after step 2, trained are 1 steps and chosen 1"},
        {RunFinished{1, "", 0}, "ledger: the run ended while group 2 was open"},
    };
    for (const Case& c : cases) {
      LedgerState s = fold(story());
      CHECK_THROWS_WITH_AS(s.apply(c.record), c.message, ConfigError);
    }
    LedgerState empty;
    CHECK_THROWS_WITH_AS(empty.apply(AttemptStarted{1, 0, 0}), "ledger: the first record is not run_started",
                         ConfigError);
  }

  TEST_CASE("a batch names groups by the hash and place that they were scored with") {
    std::vector<LedgerRecord> records = story();
    records.push_back(GroupScored{5, Purpose::kTrain, "h5", {1, 200, 30}, "rewarder 0", 0});
    for (const BatchChosen& batch :
         {BatchChosen{2, {5}, {"h6"}, {{1, 200, 30}}, 1}, BatchChosen{2, {5}, {"h5"}, {{1, 201, 30}}, 1}}) {
      LedgerState s = fold(records);
      CHECK_THROWS_WITH_AS(s.apply(batch), "ledger: group 5 of step 2 is not the group that was scored", ConfigError);
    }
  }

  TEST_CASE("a step may be trained again by rolling forward; another hash is remembered") {
    LedgerState s = fold(story());
    s.apply(StepTrained{1, "w1", 0});
    s.apply(StepTrained{1, "", 0});
    CHECK(s.diverged_step == 0);
    CHECK(s.tokens_trained == 7);

    s.apply(StepTrained{1, "other", 0});
    CHECK(s.diverged_step == 1);
  }

  TEST_CASE("another loss or gradient norm of a step rolled forward is remembered too; what came out last counts") {
    const double nan = std::numeric_limits<double>::quiet_NaN();
    const StepTrained first{1, "w1", 160.0, 0.5, nan, 2, 6, {7, 8}};
    for (const auto& [again, diverged] : {std::pair(first, 0), {StepTrained{1, "w1", 9, 0.5, nan, 1, 8, {7, 8}}, 0},
                                          {StepTrained{1, "w1", 0, 0.25, nan, 2, 6, {7, 8}}, 1},
                                          {StepTrained{1, "w1", 0, 0.5, 0.0, 2, 6, {7, 8}}, 1}}) {
      std::vector<LedgerRecord> records = story();
      records[18] = first;
      LedgerState s = fold(records);
      s.apply(again);
      CHECK(s.diverged_step == diverged);
      CHECK(s.trained.at(1).loss == again.loss);
      CHECK(s.trained.at(1).world_size == again.world_size);
    }

    LedgerState s = fold(story());
    s.apply(first);
    s.apply(StepTrained{1, "", 0, 0.5, nan, 2, 6, {}});
    CHECK(s.trained.at(1).weights_hash == "w1");
    CHECK(s.trained.at(1).tensor_hashes == std::vector<std::uint64_t>{7, 8});
  }

  TEST_CASE("a step's numbers come back from their JSON as the same bits, those that JSON does not have included") {
    const double infinity = std::numeric_limits<double>::infinity();
    for (const double value : {0.1 + 0.2, -0.0, 5e-324, infinity, -infinity, std::numeric_limits<double>::quiet_NaN()}) {
      const LedgerRecord record = StepTrained{3, "w", 1.5, value, -value, 2, 6, {~std::uint64_t{0}, 1}};
      const LedgerRecord back = ledger_record_of({9, to_json_text(record), {}}, "ledger.log");
      CHECK(same_numbers(std::get<StepTrained>(back), std::get<StepTrained>(record)));
      CHECK(std::get<StepTrained>(back).tensor_hashes == std::get<StepTrained>(record).tensor_hashes);
    }
    CHECK(!same_numbers(StepTrained{1, "", 0, 0.0}, StepTrained{1, "", 0, -0.0}));
  }

  TEST_CASE("every record comes back from its JSON, which reads by eye") {
    const std::vector<LedgerRecord> records = every_record();
    for (const LedgerRecord& record : records) {
      const std::string text = to_json_text(record);
      const Frame frame{static_cast<std::uint16_t>(record.index() + 1), text, {}};
      const LedgerRecord back = ledger_record_of(frame, "ledger.log");
      CHECK(back.index() == record.index());
      CHECK(to_json_text(back) == text);
    }
    CHECK(
        to_json_text(records[4]) ==
        R"({"actor":"actor 1","attempt":0,"group":2,"lease_id":12,"policy_version":0,"purpose":"train","record":"group_leased","unix_s":1.5})");
    CHECK(to_json_text(records[17]) ==
          R"({"groups":[0],"hashes":["h0"],"places":[[1,64,30]],"record":"batch_chosen","step":1,"world_size":2})");
  }

  TEST_CASE("another layout of any record, or of a group in the rollout log, has another ledger format") {
    // XXH3-128 of every record of every_record() and of a group's, by format. A changed layout raises kLedgerFormat and adds a line
    // here; a line is corrected where the samples alone have changed.
    const std::map<std::int64_t, std::string> layouts = {{2, "4372fcea4068d22185bd07749b42c666"}};
    Hasher hasher;
    std::set<std::size_t> kinds;
    for (const LedgerRecord& record : every_record()) {
      kinds.insert(record.index());
      hasher.update_u64(record.index() + 1);
      hasher.update(to_json_text(record));
    }
    hasher.update(serialize_record(samples::group_record()));

    CHECK(kinds.size() == std::variant_size_v<LedgerRecord>);
    CHECK(layouts.rbegin()->first == kLedgerFormat);
    CHECK(layouts.rbegin()->second == hasher.hex());
  }

  TEST_CASE("a run of another ledger format is refused with file, format found and expected") {
    const ScratchFolder folder;
    const fs::path path = folder / "ledger.log";
    const std::string text = to_json_text(RunStarted{"config", "chash", "whash", "run-1"});
    const std::string number = R"("format":2)";
    REQUIRE(text.find(number) != std::string::npos);
    const auto with = [&](const std::string& other) { return std::string(text).replace(text.find(number), number.size(), other); };
    for (const auto& [body, found] : {std::pair(with(R"("format":3)"), "3"), {with(R"("none":0)"), "1"}, {R"({"format":9})", "9"}}) {
      fs::remove(path);
      FramedFileWriter(path).append(1, body);
      const std::string message = path.string() + " at offset 0: the run is written in ledger format " + found +
                                  ", but this program reads and writes format 2: go on with the Troupe that began the run (version.txt "
                                  "beside it names it), or begin a new one with another --run-dir";
      CHECK_THROWS_WITH_AS(read_ledger(path), message.c_str(), ConfigError);
      CHECK_THROWS_WITH_AS(read_ledger_records(path), message.c_str(), ConfigError);
      CHECK_THROWS_WITH_AS(Ledger{path}, message.c_str(), ConfigError);
    }
  }

  TEST_CASE("a frame that is no ledger record is named by file and offset") {
    CHECK_THROWS_WITH_AS(
        ledger_record_of({15, "{}", {40, 2}}, "ledger.log"),
        "ledger.log at offset 40: expected a record type of 1 to 14, found 15", ConfigError);
    CHECK_THROWS_AS(ledger_record_of({9, R"({"step": "one", "weights_hash": "", "unix_s": 0})", {}}, "l"), ConfigError);
    CHECK_THROWS_AS(ledger_record_of({9, R"({"step": 1)", {}}, "l"), ConfigError);
  }

  TEST_CASE("a ledger cut at any byte of its last record opens without it; a flipped bit is an error") {
    const ScratchFolder folder;
    const fs::path path = folder / "ledger.log";
    std::uint64_t before_last = 0;
    const auto records = story();
    {
      Ledger ledger(path);
      for (std::size_t i = 0; i < records.size(); ++i) {
        if (i + 1 == records.size()) before_last = fs::file_size(path);
        ledger.append(records[i]);
      }
      ledger.sync();
      CHECK(state_of(ledger.state(), 5) == GroupState::kRolledOut);
    }
    const std::uint64_t whole = fs::file_size(path);
    CHECK(read_ledger_records(path).size() == records.size());

    for (std::uint64_t size = before_last; size < whole; ++size) {
      const fs::path torn = folder / "torn.log";
      fs::copy_file(path, torn, fs::copy_options::overwrite_existing);
      fs::resize_file(torn, size);
      CHECK(read_ledger(torn).groups.at(5).state == GroupState::kLeased);
      Ledger ledger(torn);
      CHECK(ledger.cut_bytes() == size - before_last);
      ledger.append(records.back());
      CHECK(state_of(read_ledger(torn), 5) == GroupState::kRolledOut);
    }

    std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(static_cast<std::streamoff>(whole - 2));
    file.put('#');
    file.close();
    CHECK_THROWS_AS(read_ledger(path), ConfigError);
    CHECK_THROWS_AS(Ledger{path}, ConfigError);
  }

  TEST_CASE("a record that breaks an invariant is not written") {
    const ScratchFolder folder;
    const fs::path path = folder / "ledger.log";
    Ledger ledger(path);
    ledger.append(RunStarted{});
    CHECK_THROWS_AS(ledger.append(GroupScored{}), ConfigError);
    CHECK(read_ledger_records(path).size() == 1);
  }

  TEST_CASE("a batch is read back with its hashes checked") {
    const ScratchFolder folder;
    GroupRecord record;
    record.prompt_ids = {1, 2};
    record.row = "{}";
    record.completions = {{0, {3}, {-0.5F}, {0}, FinishReason::kStop, "x"}};
    record.scores = {{1.0, {}}};
    RolloutLogWriter writer(folder / "rollouts");
    const RolloutPlace place = writer.append(record);
    writer.sync();
    RolloutLogReader reader(folder / "rollouts");
    LedgerState state;
    state.batches[1] = BatchChosen{1, {0}, {content_hash(record)}, {place}, 1};
    state.batches[2] = BatchChosen{2, {0}, {"another"}, {place}, 1};

    CHECK(read_batch(state, 1, reader) == std::vector<GroupRecord>{record});
    CHECK_THROWS_AS(read_batch(state, 2, reader), ConfigError);
    CHECK_THROWS_WITH_AS(read_batch(state, 3, reader), "ledger: no batch was chosen for step 3", ConfigError);
  }
}

}  // namespace
}  // namespace troupe::test
