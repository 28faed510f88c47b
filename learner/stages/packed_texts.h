#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "common/base/logger.h"
#include "common/data/mixture.h"
#include "common/tokenizer/tokenizer.h"
#include "learner/stages/supervised.h"

namespace troupe {

/// Documents for pretraining, tokenised once and cut into units of `sequence_tokens` ids without padding. A document is what the
/// tokenizer puts in front (BOS), its text, and the end-of-text token. A unit holds whole documents and parts of them, each as a
/// sequence of its own, so that no document is read in the light of another; a part begins with the last id of the part before, and
/// every id but a document's first is learnt once an epoch. The order of units is a shuffle of its own each epoch, a function of
/// (seed, number). Immutable: any thread.
class PackedTexts {
 public:
  /// `spec` names files as open_rows' does: *.jsonl and task:… have a text in each row; any other file is one document of plain
  /// text. Files with weights have fixed shares of the units. `end_id` below 0: the model has no end-of-text token. `key` names
  /// `spec` in messages. @throws ConfigError naming the file or row that has no text, is not UTF-8, or the source without any.
  PackedTexts(const std::string& key, const std::string& spec, const Tokenizer& tokenizer, std::int32_t end_id,
              std::int64_t sequence_tokens, std::uint64_t seed, const Logger& logger);

  /// The unit with this number in training order.
  SupervisedUnit at(std::uint64_t number) const;
  /// Units of one pass over everything.
  std::uint64_t size() const;
  /// The unit at this place, unshuffled, file by file.
  SupervisedUnit in_order(std::uint64_t index) const;

 private:
  struct Piece {  // of a document
    std::size_t begin = 0;
    std::size_t size = 0;
  };
  struct Source {
    std::vector<std::int32_t> ids;  // of all its documents
    std::vector<Piece> pieces;
    std::vector<std::size_t> units = {0};  // where each unit's pieces begin, and the end
    std::uint64_t size() const { return units.size() - 1; }
  };
  static Source pack(const std::vector<std::vector<std::int32_t>>& documents, std::int64_t sequence_tokens);
  static SupervisedUnit unit_of(const Source& source, std::uint64_t index);

  std::uint64_t seed_;
  std::vector<Source> sources_;
  Mixture mixture_;
};

}  // namespace troupe
