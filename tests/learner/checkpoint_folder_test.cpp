#include "learner/checkpoint_folder.h"

#include <doctest/doctest.h>

#include "common/base/error.h"
#include "tests/learner/temporary_folder.h"

using namespace troupe;
namespace fs = std::filesystem;

namespace {

using Steps = std::vector<std::int64_t>;

/// A complete checkpoint of one file; its content depends on the step.
void write_checkpoint(const fs::path& root, std::int64_t step) {
  const fs::path folder = checkpoint_folder(root, step);
  put_file(folder / "shard-0-of-1.bin", "state after step " + std::to_string(step));
  CheckpointManifest manifest;
  manifest.step = step;
  manifest.slice = 1024;
  manifest.units = {0, 1024};
  manifest.files = {digest_and_sync(folder, "shard-0-of-1.bin")};
  put_file(folder / "MANIFEST.json", print_manifest(manifest));
  put_file(folder / "DONE", xxh3_128_hex(print_manifest(manifest)) + "\n");
}

CheckpointConfig keep(int last, std::int64_t every, bool best) {
  CheckpointConfig config;
  config.keep_last = last;
  config.keep_every = every;
  config.keep_best = best;
  return config;
}

bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

}  // namespace

TEST_SUITE("learner/checkpoint_folder") {
  TEST_CASE("a manifest reads back as it was printed") {
    CheckpointManifest manifest;
    manifest.step = 7;
    manifest.updates = 13;
    manifest.config_hash = "abc";
    manifest.ledger_bytes = 12345;
    manifest.world_size = 3;
    manifest.slice = 2048;
    manifest.units = {0, 2048};
    manifest.tensors = {{"a", {4, 5}, 0, 20}, {"b", {6}, 32, 6}};
    manifest.files = {{"shard-0-of-3.bin", (std::uint64_t{1} << 20) + 1, {"x", "y"}}, {"hf/config.json", 0, {}}};

    CHECK(parse_manifest(print_manifest(manifest), "here") == manifest);
  }

  TEST_CASE("a manifest that cannot be right is refused by key") {
    CheckpointManifest manifest;
    manifest.files = {{"../../etc/passwd", 5, {"x"}}};
    CHECK_THROWS_WITH_AS(parse_manifest(print_manifest(manifest), "M"), "M: \"slice\": expected at least 1, found 0",
                         ConfigError);
    manifest.slice = 1024;
    manifest.units = {0, 1024};
    CHECK_THROWS_WITH_AS(parse_manifest(print_manifest(manifest), "M"),
                         "M: file name \"../../etc/passwd\" leads out of the checkpoint", ConfigError);
    manifest.files = {{"a.bin", (std::uint64_t{1} << 20) + 1, {"x"}}};
    CHECK_THROWS_WITH_AS(parse_manifest(print_manifest(manifest), "M"), "M: a.bin: expected 2 checksums, found 1",
                         ConfigError);
    manifest.files.clear();
    manifest.units = {0, 512, 256};
    CHECK_THROWS_WITH_AS(parse_manifest(print_manifest(manifest), "M"), "M: \"units\": expected at least two bounds, ascending from 0",
                         ConfigError);
    std::string newer = print_manifest(CheckpointManifest());
    newer.replace(newer.find("\"format\": 2"), 11, "\"format\": 4");
    CHECK_THROWS_WITH_AS(parse_manifest(newer, "M"), "M: checkpoint format 4; this program reads 1 to 3", ConfigError);
    manifest.units = {0, 1024};
    manifest.together = 2;
    CHECK(parse_manifest(print_manifest(manifest), "M") == manifest);
    std::string apart = print_manifest(manifest);
    apart.replace(apart.find("\"together\": 2"), 13, "\"together\": 1");
    CHECK_THROWS_WITH_AS(parse_manifest(apart, "M"), "M: \"together\": expected at least 2, found 1", ConfigError);
  }

  TEST_CASE("a file that is written and one that is read have the same digest, and damage is named by chunk") {
    const TemporaryFolder folder;
    std::string bytes((std::size_t{5} << 19) + 3, 'x');  // two chunks and a half
    for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<char>(i * i >> 7);
    DigestingWriter writer(folder.path(), "a.bin");
    const auto all = std::as_bytes(std::span(bytes));
    for (std::size_t start = 0; start < all.size(); start += 300'001) {
      writer.write(all.subspan(start, std::min<std::size_t>(300'001, all.size() - start)));
    }

    const FileDigest digest = writer.finish();

    CHECK(digest == digest_and_sync(folder.path(), "a.bin"));
    CHECK(digest.chunks.size() == 3);
    CHECK(digest.chunks[0] == xxh3_128_hex(bytes.substr(0, 1 << 20)));
    CHECK(digest.chunks[2] == xxh3_128_hex(bytes.substr(2 << 20)));
    CHECK(!find_damage(folder.path(), digest));

    const std::string path = (folder.path() / "a.bin").string();
    flip_bit(path, (1 << 20) + 5, 3);
    bytes[(1 << 20) + 5] = static_cast<char>(bytes[(1 << 20) + 5] ^ 8);
    CHECK(find_damage(folder.path(), digest).value_or("") == path + " at offset 1048576: expected checksum " +
                                                                 digest.chunks[1] + ", found " +
                                                                 xxh3_128_hex(bytes.substr(1 << 20, 1 << 20)));
    fs::resize_file(path, 100);
    CHECK(find_damage(folder.path(), digest).value_or("") == path + ": expected 2621443 bytes, found 100");
    fs::remove(path);
    CHECK(contains(find_damage(folder.path(), digest).value_or(""), path));
  }

  TEST_CASE("what a killed run left is cleared, and nothing else") {
    const TemporaryFolder root;
    write_checkpoint(root.path(), 5);
    write_checkpoint(root.path(), 6);
    fs::remove(checkpoint_folder(root.path(), 6) / "DONE");
    put_file(root.path() / ".tmp-step-7-123" / "shard-0-of-1.bin", "half");
    put_file(root.path() / "step-8" / "hf" / "config.json", "{}");  // an export, not a checkpoint
    put_file(root.path() / "step-4.bad" / "MANIFEST.json", "{}");

    const auto removed = clear_checkpoint_leftovers(root.path());

    CHECK(removed == std::vector<std::string>{".tmp-step-7-123", "step-6"});
    CHECK(!fs::exists(root.path() / ".tmp-step-7-123"));
    CHECK(!fs::exists(root.path() / "step-6"));
    CHECK(fs::exists(root.path() / "step-5" / "DONE"));
    CHECK(fs::exists(root.path() / "step-8"));
    CHECK(fs::exists(root.path() / "step-4.bad"));
    CHECK(clear_checkpoint_leftovers(root.path() / "nowhere").empty());
  }

  TEST_CASE("the newest whole checkpoint is found by number, damaged ones are set aside and reported") {
    const TemporaryFolder root;
    for (const std::int64_t step : {9, 10, 11, 12}) write_checkpoint(root.path(), step);
    flip_bit(root.path() / "step-12" / "shard-0-of-1.bin", 3, 0);
    flip_bit(root.path() / "step-11" / "MANIFEST.json", 20, 0);
    Logger logger("test");
    const std::string log = (root.path() / "log").string();
    logger.also_to_file(log);

    CHECK(newest_whole_checkpoint(root.path(), logger) == 10);

    CHECK(fs::exists(root.path() / "step-12.bad"));
    CHECK(fs::exists(root.path() / "step-11.bad"));
    CHECK(complete_checkpoints(root.path()) == Steps{9, 10});
    CHECK(contains(read_file(log), "step 12 is damaged and set aside as step-12.bad: "));
    CHECK(contains(read_file(log),
                   (root.path() / "step-12" / "shard-0-of-1.bin at offset 0: expected checksum ").string()));
    CHECK(contains(read_file(log), "MANIFEST.json at offset 0: DONE says checksum "));
  }

  TEST_CASE("a checkpoint of another step under this name, or with a file of another, is damaged") {
    const TemporaryFolder root;
    write_checkpoint(root.path(), 1);
    write_checkpoint(root.path(), 2);
    fs::copy(root.path() / "step-1", root.path() / "step-3");
    fs::copy_file(root.path() / "step-1" / "shard-0-of-1.bin", root.path() / "step-2" / "shard-0-of-1.bin",
                  fs::copy_options::overwrite_existing);

    CHECK(contains(find_damage(root.path() / "step-3").value_or(""), "it is the manifest of step 1"));
    CHECK(contains(find_damage(root.path() / "step-2").value_or(""), "shard-0-of-1.bin at offset 0"));
    CHECK(!find_damage(root.path() / "step-1"));
  }

  TEST_CASE("retention keeps the last, the round ones and the best, and never less than two") {
    const Steps all = {10, 20, 30, 40, 50};

    CHECK(steps_to_retire(all, keep(2, 0, false), std::nullopt) == Steps{10, 20, 30});
    CHECK(steps_to_retire(all, keep(0, 0, false), std::nullopt) == Steps{10, 20, 30});
    CHECK(steps_to_retire(all, keep(3, 0, false), std::nullopt) == Steps{10, 20});
    CHECK(steps_to_retire(all, keep(2, 20, false), std::nullopt) == Steps{10, 30});
    CHECK(steps_to_retire(all, keep(2, 0, true), 10) == Steps{20, 30});
    CHECK(steps_to_retire(all, keep(2, 0, false), 10) == Steps{10, 20, 30});
    CHECK(steps_to_retire(all, keep(9, 0, false), std::nullopt).empty());
    CHECK(steps_to_retire({}, keep(2, 0, false), std::nullopt).empty());
  }

  TEST_CASE("retired checkpoints are gone, also where one was half deleted before") {
    const TemporaryFolder root;
    for (const std::int64_t step : {1, 2, 3, 4}) write_checkpoint(root.path(), step);
    put_file(root.path() / ".tmp-retired-step-1" / "MANIFEST.json", "{}");

    retire_checkpoints(root.path(), keep(2, 0, true), 2);

    CHECK(complete_checkpoints(root.path()) == Steps{2, 3, 4});
    CHECK(!fs::exists(root.path() / "step-1"));
    CHECK(!fs::exists(root.path() / ".tmp-retired-step-1"));
  }
}
