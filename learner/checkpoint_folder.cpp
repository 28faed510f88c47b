#include "learner/checkpoint_folder.h"

#include <algorithm>
#include <charconv>

#include "common/base/error.h"
#include "common/base/fault.h"
#include "common/base/files.h"

namespace troupe {
namespace {

namespace fs = std::filesystem;

/// N of "step-N", nothing for any other name.
std::optional<std::int64_t> step_of(const std::string& name) {
  const std::string prefix = "step-";
  if (name.compare(0, prefix.size(), prefix) != 0) return std::nullopt;
  std::int64_t step = 0;
  const char* const end = name.data() + name.size();
  const auto [stopped, error] = std::from_chars(name.data() + prefix.size(), end, step);
  if (error != std::errc{} || stopped != end || step < 0) return std::nullopt;
  return step;
}

std::vector<std::string> names_in(const fs::path& root) {
  std::vector<std::string> names;
  std::error_code ignored;  // a folder that is not there has nothing in it
  for (const auto& entry : fs::directory_iterator(root, ignored)) names.push_back(entry.path().filename().string());
  std::sort(names.begin(), names.end());
  return names;
}

void set_aside(const fs::path& folder) {
  fs::path bad = folder.string() + ".bad";
  for (int i = 2; fs::exists(bad); ++i) bad = folder.string() + ".bad." + std::to_string(i);
  fs::rename(folder, bad);
  sync_folder(folder.parent_path());
}

}  // namespace

fs::path checkpoint_folder(const fs::path& root, std::int64_t step) { return root / ("step-" + std::to_string(step)); }

std::vector<std::int64_t> complete_checkpoints(const fs::path& root) {
  std::vector<std::int64_t> steps;
  for (const std::string& name : names_in(root)) {
    const auto step = step_of(name);
    if (step && fs::exists(root / name / "DONE")) steps.push_back(*step);
  }
  std::sort(steps.begin(), steps.end());
  return steps;
}

std::vector<std::string> clear_checkpoint_leftovers(const fs::path& root) {
  std::vector<std::string> removed;
  for (const std::string& name : names_in(root)) {
    const bool temporary = name.compare(0, 5, ".tmp-") == 0;
    const bool unfinished =
        step_of(name) && fs::exists(root / name / "MANIFEST.json") && !fs::exists(root / name / "DONE");
    if (!temporary && !unfinished) continue;
    fault::point("file.unlink");
    fs::remove_all(root / name);
    removed.push_back(name);
  }
  return removed;
}

CheckpointManifest read_manifest(const fs::path& folder) {
  const std::string path = (folder / "MANIFEST.json").string();
  const std::string text = read_file(path);
  const std::string expected = read_file(folder / "DONE");
  const std::string found = xxh3_128_hex(text) + "\n";
  if (found != expected) {
    throw ConfigError(path + " at offset 0: DONE says checksum " + expected.substr(0, 32) + ", found " + found.substr(0, 32));
  }
  const CheckpointManifest manifest = parse_manifest(text, path);
  if (folder.filename() != checkpoint_folder("", manifest.step).filename()) {
    throw ConfigError(path + ": it is the manifest of step " + std::to_string(manifest.step));
  }
  return manifest;
}

std::optional<std::string> find_damage(const fs::path& folder) {
  try {
    const CheckpointManifest manifest = read_manifest(folder);
    for (const FileDigest& file : manifest.files) {
      if (auto damage = find_damage(folder, file)) return damage;
    }
  } catch (const ConfigError& error) {
    return error.what();
  }
  return std::nullopt;
}

std::optional<std::int64_t> newest_whole_checkpoint(const fs::path& root, const Logger& logger) {
  const std::vector<std::int64_t> steps = complete_checkpoints(root);
  for (auto step = steps.rbegin(); step != steps.rend(); ++step) {
    const auto damage = find_damage(checkpoint_folder(root, *step));
    if (!damage) return *step;
    logger.error("checkpoint of step " + std::to_string(*step) + " is damaged and set aside as step-" +
                 std::to_string(*step) + ".bad: " + *damage);
    set_aside(checkpoint_folder(root, *step));
  }
  return std::nullopt;
}

std::vector<std::int64_t> steps_to_retire(const std::vector<std::int64_t>& complete, const CheckpointConfig& config,
                                          std::optional<std::int64_t> best) {
  const auto kept = static_cast<std::size_t>(std::max(2, config.keep_last));
  std::vector<std::int64_t> going;
  for (std::size_t i = 0; i + kept < complete.size(); ++i) {
    const std::int64_t step = complete[i];
    if (config.keep_every > 0 && step % config.keep_every == 0) continue;
    if (config.keep_best && best == step) continue;
    going.push_back(step);
  }
  return going;
}

void retire_checkpoints(const fs::path& root, const CheckpointConfig& config, std::optional<std::int64_t> best) {
  for (const std::int64_t step : steps_to_retire(complete_checkpoints(root), config, best)) {
    const fs::path going = root / (".tmp-retired-step-" + std::to_string(step));
    try {
      fs::remove_all(going);
      fault::point("file.rename");
      fs::rename(checkpoint_folder(root, step), going);
      sync_folder(root);
      fault::point("checkpoint.retire");
      fs::remove_all(going);
    } catch (const fs::filesystem_error& error) {
      throw TransportError("cannot delete the checkpoint of step " + std::to_string(step) + ": " + error.what());
    }
  }
}

}  // namespace troupe
