#include <cmath>
#include <filesystem>
#include <optional>
#include <utility>

#include "common/base/error.h"
#include "common/base/random.h"
#include "common/base/text.h"
#include "common/data/addition_task.h"
#include "common/data/json_lines.h"
#include "common/data/permutation.h"
#include "common/data/rows.h"

namespace troupe {
namespace {

/// A source with all its rows once an epoch.
class ShuffledRows : public RowSource {
 public:
  explicit ShuffledRows(std::uint64_t seed) : seed_(seed) {}
  Row at(std::uint64_t number) const final {
    return in_order(permuted(number % size(), size(), seed_, number / size()));
  }

 private:
  std::uint64_t seed_;
};

class FileRows : public ShuffledRows {
 public:
  FileRows(const std::string& path, std::uint64_t seed) : ShuffledRows(seed), lines_(path) {}
  std::uint64_t size() const override { return lines_.size(); }
  Row in_order(std::uint64_t index) const override { return lines_.row(index); }

 private:
  JsonLines lines_;
};

class TaskRows : public ShuffledRows {
 public:
  TaskRows(std::string spec, AdditionTask task, std::uint64_t seed)
      : ShuffledRows(seed), spec_(std::move(spec)), task_(std::move(task)) {}
  std::uint64_t size() const override { return task_.size(); }
  Row in_order(std::uint64_t index) const override {
    return {task_.row(index), spec_ + ":" + std::to_string(index + 1)};
  }

 private:
  std::string spec_;
  AdditionTask task_;
};

/// Several sources in fixed shares. Numbers go in blocks of 1,024; each block has every source's share of them in an
/// order of its own, so a number's source and its place in it need no history.
class MixedRows : public RowSource {
 public:
  static constexpr std::uint64_t kBlock = 1024;
  struct Part {
    std::unique_ptr<RowSource> source;
    std::uint64_t share;  // of a block
  };
  MixedRows(std::vector<Part> parts, std::uint64_t seed) : parts_(std::move(parts)), seed_(seed) {}

  std::uint64_t size() const override {
    std::uint64_t rows = 0;
    for (const Part& part : parts_) rows += part.source->size();
    return rows;
  }
  Row at(std::uint64_t number) const override {
    const std::uint64_t block = number / kBlock;
    std::uint64_t place = permuted(number % kBlock, kBlock, seed_, block);
    auto part = parts_.begin();
    for (; place >= part->share; ++part) place -= part->share;
    return part->source->at(block * part->share + place);
  }
  Row in_order(std::uint64_t index) const override {
    auto part = parts_.begin();
    for (; part + 1 != parts_.end() && index >= part->source->size(); ++part) index -= part->source->size();
    return part->source->in_order(index);
  }

 private:
  std::vector<Part> parts_;
  std::uint64_t seed_;
};

std::unique_ptr<RowSource> open_one(const std::string& spec, std::uint64_t seed) {
  constexpr std::string_view kTask = "task:";
  if (!std::string_view(spec).starts_with(kTask)) {
    if (std::filesystem::is_directory(spec)) throw ConfigError(spec + ": expected a JSONL file, found a folder");
    return std::make_unique<FileRows>(spec, seed);
  }
  const std::string name = spec.substr(kTask.size());
  auto task = AdditionTask::open(name, seed);
  if (!task) throw ConfigError(spec + ": there is no such task (addition2, addition3 and addition4 are)");
  return std::make_unique<TaskRows>(spec, std::move(*task), seed);
}

struct Weighted {
  std::string spec;
  std::optional<double> weight;
};

/// "a.jsonl:0.7" as its two parts; a colon that no number follows belongs to the name.
Weighted split_weight(std::string_view text, const std::string& whole) {
  const std::size_t colon = text.rfind(':');
  if (colon != std::string_view::npos) {
    if (const auto weight = parse_double(text.substr(colon + 1))) {
      if (*weight <= 0)
        throw ConfigError("data \"" + whole + "\": the weight " + shortest(*weight) + " is not above 0");
      return {std::string(text.substr(0, colon)), weight};
    }
  }
  return {std::string(text), std::nullopt};
}

}  // namespace

std::unique_ptr<RowSource> open_rows(const std::string& spec, std::uint64_t seed) {
  std::vector<Weighted> parts;
  double total = 0;
  for (const auto text : split(spec, ',')) {
    parts.push_back(split_weight(trim(text), spec));
    if (parts.back().spec.empty()) throw ConfigError("data \"" + spec + "\": a file name is empty");
    if (parts.size() > 1 && parts.back().weight.has_value() != parts.front().weight.has_value()) {
      throw ConfigError("data \"" + spec + "\": some files have a weight and some have none");
    }
    total += parts.back().weight.value_or(1.0);
  }
  if (parts.size() == 1) return open_one(parts.front().spec, seed);

  std::vector<MixedRows::Part> sources;
  double weight_before = 0;
  std::uint64_t shares_before = 0;
  for (const auto& part : parts) {
    weight_before += part.weight.value_or(1.0);
    const auto shares = static_cast<std::uint64_t>(std::llround(weight_before / total * double{MixedRows::kBlock}));
    if (shares == shares_before) {
      throw ConfigError("data \"" + spec + "\": the weight of " + part.spec + " is below a thousandth of all");
    }
    sources.push_back({open_one(part.spec, seed + sources.size()), shares - shares_before});
    shares_before = shares;
  }
  return std::make_unique<MixedRows>(std::move(sources), seed + parts.size());
}

}  // namespace troupe
