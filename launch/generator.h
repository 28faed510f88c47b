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

/// What becomes of a row that cannot be answered: it ends the run, or it gets lines {"error", "sample"} and the others are answered.
enum class RefusedRows { kThrow, kWrite };

struct GenerateOptions {
  SamplingParams sampling;
  std::uint32_t samples = 1;
  std::uint64_t seed = 1;
  bool special_tokens = true;
  std::string model;                   // Hugging Face directory
  std::optional<ChatTemplate> prompt;  // of rows of messages; none: the model's
  std::string date;
  RefusedRows refused_rows = RefusedRows::kThrow;
};

/// Feeds rows to an engine, a bounded number at a time, and writes their completions in row order. What a row has of its own
/// (launch/row_sampling.h) goes before the options; what is drawn with a row's own `seed` does not depend on where the row stands.
class Generator {
 public:
  /// Rows before `first` are done already. All arguments outlive it.
  Generator(Engine& engine, const Tokenizer& tokenizer, const Architecture& architecture, const RowSource& rows, std::uint64_t first,
            GenerateOptions options, std::ostream& out);

  /// One step of the engine and what became complete by it; false where nothing is left. @throws ConfigError as `refused_rows` says.
  bool step();

  std::uint64_t rows_written() const { return written_; }
  std::uint64_t refused() const { return refused_; }
  std::uint64_t tokens() const { return engine_.stats().drawn_tokens; }

 private:
  /// What a row's completions are written with.
  struct Asked {
    std::string prompt;
    SamplingParams sampling;
  };

  void submit(std::uint64_t number);
  Request request_of(const Row& row, Asked& asked);
  std::string rendered(const Row& row);
  std::string lines_of(const Asked& asked, const std::vector<Completion>& completions) const;
  std::string refusal_of(const std::string& error) const;

  Engine& engine_;
  const Tokenizer& tokenizer_;
  const Architecture& architecture_;
  const RowSource& rows_;
  GenerateOptions options_;
  std::ostream& out_;
  std::uint64_t submitted_;
  std::uint64_t written_;
  std::uint64_t refused_ = 0;
  std::map<std::uint64_t, Asked> asked_;        // of rows that are being answered
  std::map<std::uint64_t, std::string> lines_;  // of rows that wait for earlier ones
};

}  // namespace troupe
