#pragma once

#include <cstdint>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

namespace troupe {

/// One data row: the JSON object and where it came from ("file.jsonl:17", or "task:addition3/train:17").
struct Row {
  nlohmann::json json;
  std::string where;
  std::string text = {};  // the line itself, whose order of keys `json` does not keep; empty where there is none
};

/// An ordered list of rows, read once. The order of numbers over a run, epochs and weights included, is a pure function
/// of (seed, number). Immutable: any thread.
class RowSource {
 public:
  virtual ~RowSource() = default;
  /// Rows in the source itself.
  virtual std::uint64_t size() const = 0;
  /// The row with this number: number 0, 1, 2 … over the whole run, shuffled anew each epoch by `seed`.
  virtual Row at(std::uint64_t number) const = 0;
  /// The row at this place in the source, unshuffled; for evaluation and SFT order of their own.
  virtual Row in_order(std::uint64_t index) const = 0;
};

/// Opens `spec`: "a.jsonl", "a.jsonl:0.7,b.jsonl:0.3" or "task:NAME/SPLIT". @throws ConfigError naming file, row and
/// problem.
std::unique_ptr<RowSource> open_rows(const std::string& spec, std::uint64_t seed);

/// "question, solution", or "none": the keys that a row has, for messages.
std::string keys_of(const nlohmann::json& object);

/// The string under `key`. @throws ConfigError naming the row and the keys that it has, or the value's type.
std::string text_under(const Row& row, const std::string& key);

/// The text that the model is asked: under `question_key`, or `question`, `problem`, `prompt`, or the last user
/// message.
/// @throws ConfigError naming the row and the keys that it has.
std::string question_of(const Row& row, const std::string& question_key);

/// The gold answer under `gold` or `answer` (GSM8K's "#### n" understood), or "" where the row has none.
std::string gold_of(const nlohmann::json& row);

/// The conversation that the row asks with, its keys in the line's order: under `messages` where question_of looks there, or
/// the list where it looks; nothing where the row asks with a text.
std::optional<nlohmann::ordered_json> messages_of(const Row& row, const std::string& question_key);

/// What stands under `key`, its keys in the line's order; null where there is none.
nlohmann::ordered_json in_line_order(const Row& row, const std::string& key);

/// Prompt and completion of an SFT row {"prompt", "completion"} . @throws ConfigError naming the row.
std::pair<std::string, std::string> sft_pair_of(const Row& row);

}  // namespace troupe
