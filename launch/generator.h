#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <ostream>
#include <string>
#include <vector>

#include "actors/engine.h"
#include "common/chat/chat_template.h"
#include "common/data/rows.h"
#include "common/tokenizer/tokenizer.h"

namespace troupe {

struct GenerateOptions {
  SamplingParams sampling;
  std::uint32_t samples = 1;
  std::uint64_t seed = 1;
  bool special_tokens = true;
  std::string model;                   // Hugging Face directory
  std::optional<ChatTemplate> prompt;  // of rows of messages; none: the model's
  std::string date;
};

/// Feeds rows to an engine, a bounded number at a time, and writes their completions in row order. What a row has of its own
/// (launch/row_sampling.h) goes before the options; what is drawn with a row's own `seed` does not depend on where the row stands.
class Generator {
 public:
  /// Rows before `first` are done already. All arguments outlive it.
  Generator(Engine& engine, const Tokenizer& tokenizer, const Architecture& architecture, const RowSource& rows, std::uint64_t first,
            GenerateOptions options, std::ostream& out);

  /// One step of the engine and what became complete by it; false where nothing is left.
  bool step();

  std::uint64_t rows_written() const { return written_; }
  std::uint64_t tokens() const { return engine_.stats().drawn_tokens; }

 private:
  void submit(std::uint64_t number);
  std::string rendered(const Row& row);
  void write(const std::vector<Completion>& completions);

  Engine& engine_;
  const Tokenizer& tokenizer_;
  const Architecture& architecture_;
  const RowSource& rows_;
  GenerateOptions options_;
  std::ostream& out_;
  std::uint64_t submitted_;
  std::uint64_t written_;
  std::map<std::uint64_t, std::string> prompts_;
  std::map<std::uint64_t, SamplingParams> sampling_;
  std::map<std::uint64_t, std::vector<Completion>> finished_;
};

}  // namespace troupe
