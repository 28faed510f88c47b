#include "learner/stages/packed_texts.h"

#include <algorithm>

#include "common/base/error.h"
#include "common/base/files.h"
#include "common/data/permutation.h"
#include "common/data/rows.h"

namespace troupe {
namespace {

bool holds_rows(const std::string& source) { return source.ends_with(".jsonl") || source.starts_with("task:"); }

/// The documents of one source as ids; those too short to learn anything from are left out and counted in `empty`.
std::vector<std::vector<std::int32_t>> documents_of(const std::string& source, const Tokenizer& tokenizer, std::int32_t end_id,
                                                    std::uint64_t seed, std::uint64_t& empty) {
  std::vector<std::vector<std::int32_t>> documents;
  const auto add = [&](const std::string& text, const std::string& where) {
    try {
      std::vector<std::int32_t> ids = text.empty() ? std::vector<std::int32_t>() : tokenizer.encode(text, true);
      if (end_id >= 0 && (ids.empty() || ids.back() != end_id)) ids.push_back(end_id);
      if (ids.size() < 2) {
        ++empty;
      } else {
        documents.push_back(std::move(ids));
      }
    } catch (const ConfigError& error) {
      throw ConfigError(where + ": " + error.what());
    }
  };
  if (holds_rows(source)) {
    const auto rows = open_rows(source, seed);
    for (std::uint64_t i = 0; i < rows->size(); ++i) {
      const Row row = rows->in_order(i);
      add(text_under(row, "text"), row.where);
    }
  } else {
    add(read_file(source), source);
  }
  return documents;
}

}  // namespace

PackedTexts::PackedTexts(const std::string& key, const std::string& spec, const Tokenizer& tokenizer, std::int32_t end_id,
                         std::int64_t sequence_tokens, std::uint64_t seed, const Logger& logger)
    : seed_(seed), mixture_(mixture_parts(spec), seed, spec) {
  std::uint64_t documents = 0;
  std::uint64_t empty = 0;
  std::size_t tokens = 0;
  for (const MixturePart& part : mixture_parts(spec)) {
    const auto texts = documents_of(part.source, tokenizer, end_id, seed, empty);
    sources_.push_back(pack(texts, sequence_tokens));
    if (sources_.back().size() == 0) throw ConfigError(key + ": " + part.source + ": expected text, found none");
    documents += texts.size();
    tokens += sources_.back().ids.size();
  }
  logger.info(key + ": documents=" + std::to_string(documents) + " empty=" + std::to_string(empty) + " tokens=" +
              std::to_string(tokens) + " sequences=" + std::to_string(size()) + " of " + std::to_string(sequence_tokens));
}

PackedTexts::Source PackedTexts::pack(const std::vector<std::vector<std::int32_t>>& documents, std::int64_t sequence_tokens) {
  Source source;
  const auto budget = static_cast<std::size_t>(sequence_tokens);
  std::size_t room = budget;
  const auto end_unit = [&] {
    if (source.pieces.size() > source.units.back()) source.units.push_back(source.pieces.size());
    room = budget;
  };
  for (const std::vector<std::int32_t>& document : documents) {
    const std::size_t first = source.ids.size();
    source.ids.insert(source.ids.end(), document.begin(), document.end());
    for (std::size_t at = 0; at + 1 < document.size();) {
      if (room < 2) end_unit();  // a part predicts at least one id from another
      const std::size_t size = std::min(room, document.size() - at);
      source.pieces.push_back({first + at, size});
      room -= size;
      at += size - 1;
    }
  }
  end_unit();
  return source;
}

SupervisedUnit PackedTexts::unit_of(const Source& source, std::uint64_t index) {
  SupervisedUnit unit;
  for (std::size_t i = source.units[index]; i < source.units[index + 1]; ++i) {
    const auto begin = source.ids.begin() + static_cast<std::ptrdiff_t>(source.pieces[i].begin);
    unit.push_back({{*begin}, {begin + 1, begin + static_cast<std::ptrdiff_t>(source.pieces[i].size)}});
  }
  return unit;
}

SupervisedUnit PackedTexts::at(std::uint64_t number) const {
  const auto [part, place] = mixture_.at(number);
  const Source& source = sources_[part];
  return unit_of(source, permuted(place % source.size(), source.size(), seed_ + part, place / source.size()));
}

std::uint64_t PackedTexts::size() const {
  std::uint64_t units = 0;
  for (const Source& source : sources_) units += source.size();
  return units;
}

SupervisedUnit PackedTexts::in_order(std::uint64_t index) const {
  auto source = sources_.begin();
  for (; source + 1 != sources_.end() && index >= source->size(); ++source) index -= source->size();
  return unit_of(*source, index);
}

}  // namespace troupe
