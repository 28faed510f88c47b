#include <filesystem>
#include <utility>

#include "common/base/error.h"
#include "common/data/addition_task.h"
#include "common/data/json_lines.h"
#include "common/data/mixture.h"
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

/// Several sources in fixed shares.
class MixedRows : public RowSource {
 public:
  MixedRows(std::vector<std::unique_ptr<RowSource>> parts, Mixture mixture)
      : parts_(std::move(parts)), mixture_(std::move(mixture)) {}

  std::uint64_t size() const override {
    std::uint64_t rows = 0;
    for (const auto& part : parts_) rows += part->size();
    return rows;
  }
  Row at(std::uint64_t number) const override {
    const auto [part, place] = mixture_.at(number);
    return parts_[part]->at(place);
  }
  Row in_order(std::uint64_t index) const override {
    auto part = parts_.begin();
    for (; part + 1 != parts_.end() && index >= (*part)->size(); ++part) index -= (*part)->size();
    return (*part)->in_order(index);
  }

 private:
  std::vector<std::unique_ptr<RowSource>> parts_;
  Mixture mixture_;
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

}  // namespace

std::unique_ptr<RowSource> open_rows(const std::string& spec, std::uint64_t seed) {
  const std::vector<MixturePart> parts = mixture_parts(spec);
  if (parts.size() == 1) return open_one(parts.front().source, seed);
  Mixture mixture(parts, seed + parts.size(), spec);
  std::vector<std::unique_ptr<RowSource>> sources;
  for (const MixturePart& part : parts) sources.push_back(open_one(part.source, seed + sources.size()));
  return std::make_unique<MixedRows>(std::move(sources), std::move(mixture));
}

}  // namespace troupe
