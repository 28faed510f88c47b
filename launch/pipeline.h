#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace troupe {

/// A command of `troupe` among several in a row.
struct PipelineStage {
  std::string name;                // a word of a-z, 0-9, _ and -
  std::vector<std::string> words;  // the command and its arguments; {NAME} and {NAME.folder} stand for what earlier stages made
  int ranks = 1;                   // of learners under mpirun, for the supervised stages
};

/// Reads an INI file of sections [stage.NAME] with the keys `command` and `ranks`, in their order; a line that ends in a backslash goes on in the
/// next. @throws ConfigError naming file and stage
/// where a key is unknown, the command is none that a pipeline runs or names its own place, or a stage refers to none before it.
std::vector<PipelineStage> read_pipeline(const std::filesystem::path& file);

/// The stage's words for a pipeline in `root`, where its earlier stages are finished: references replaced, and its own place added.
/// {NAME} is the newest Hugging Face directory of a stage that trains, the rows of `select`, the folder of any other; {NAME.folder} is the
/// folder root/NAME. @throws ConfigError where what is referred to is not there.
std::vector<std::string> command_of(const PipelineStage& stage, const std::vector<PipelineStage>& stages, const std::filesystem::path& root);

/// Whether the stage's work is done: its summary.json is there.
bool is_finished(const PipelineStage& stage, const std::filesystem::path& root);

}  // namespace troupe
