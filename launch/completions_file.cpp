#include "launch/completions_file.h"

#include <algorithm>
#include <string_view>

#include "common/base/error.h"
#include "common/base/files.h"
#include "launch/rows_io.h"

namespace troupe {

namespace fs = std::filesystem;

namespace {

constexpr std::string_view kRefusal = "{\"error\":";  // how the lines of a refused row begin

}  // namespace

CompletionsFile::CompletionsFile(const std::filesystem::path& path, const nlohmann::ordered_json& terms, std::uint32_t samples)
    : path_(path.string()), unfinished_(path_ + ".unfinished") {
  const bool own = is_own_output(path);
  const bool resumable = !own && (!fs::exists(path) || fs::is_regular_file(path));  // a pipe or device is written as is
  if (resumable && fs::exists(unfinished_)) {
    resume(terms, samples);
  } else {
    out_.open(path_, std::ios::binary | (own ? std::ios::app : std::ios::trunc));
  }
  if (!out_) throw ConfigError(path_ + ": cannot be written");
  if (resumable) write_file_atomically(unfinished_, terms.dump(2) + "\n");
}

void CompletionsFile::require_written() const {
  if (!out_) throw TransportError(path_ + ": writing failed (is the disk full?)");
}

void CompletionsFile::close() {
  out_.close();
  require_written();
  fs::remove(unfinished_);
}

void CompletionsFile::resume(const nlohmann::ordered_json& terms, std::uint32_t samples) {
  const auto before = nlohmann::ordered_json::parse(read_file(unfinished_), nullptr, false);
  for (const auto& [key, value] : terms.items()) {
    if (before.is_object() && before.contains(key) && before.at(key) == value) continue;
    const std::string found = before.is_object() && before.contains(key) ? before.at(key).dump() : "nothing";
    throw ConfigError(unfinished_ + ": " + path_ + " was begun with " + key + " = " + found + ", now it is " + value.dump() +
                      ": finish it with the same options, or delete " + unfinished_ + " to begin anew");
  }
  if (fs::exists(path_)) {
    const std::string text = read_file(path_);
    const auto lines = static_cast<std::uint64_t>(std::ranges::count(text, '\n'));
    rows_ = lines / samples;
    std::size_t end = 0;
    for (std::uint64_t line = 0; line < rows_ * samples; ++line) {
      if (line % samples == 0 && text.compare(end, kRefusal.size(), kRefusal) == 0) ++refused_;
      end = text.find('\n', end) + 1;
    }
    fs::resize_file(path_, end);
  }
  out_.open(path_, std::ios::binary | std::ios::app);
}

}  // namespace troupe
