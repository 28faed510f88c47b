#include "rewarders/judge_cache.h"

#include <fcntl.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <span>

#include "common/base/error.h"
#include "common/base/strict_json.h"
#include "common/base/text.h"

namespace troupe {

JudgeCache::JudgeCache(const std::string& path) : path_(path) {
  if (path.empty()) return;
  if (std::filesystem::exists(path)) {
    const std::string text = read_file(path);
    std::size_t number = 0;
    for (std::size_t begin = 0, end = 0; (end = text.find('\n', begin)) != std::string::npos; begin = end + 1) {
      const std::string where = path + ":" + std::to_string(++number);
      const std::string_view line = std::string_view(text).substr(begin, end - begin);
      if (line.empty()) continue;  // closes a line that another process left half-written
      const nlohmann::json entry = nlohmann::json::parse(line, nullptr, false);
      if (entry.is_discarded()) continue;  // that line
      replies_[json_get<std::string>(entry, "asked", where)] = json_get<std::string>(entry, "reply", where);
    }
  }
  file_ = FileDescriptor(::open(path.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644));
  if (!file_) throw ConfigError("cache: cannot open " + path + ": " + std::strerror(errno));
}

std::optional<std::string> JudgeCache::find(const std::string& key) const {
  const std::lock_guard lock(mutex_);
  const auto found = replies_.find(key);
  return found == replies_.end() ? std::nullopt : std::optional(found->second);
}

void JudgeCache::keep(const std::string& key, const std::string& reply) {
  const std::lock_guard lock(mutex_);
  replies_[key] = reply;
  if (!file_) return;
  const nlohmann::ordered_json entry = {{"asked", key}, {"reply", reply}};
  // A break in front too: the line of a process that was killed half-way stays a line of its own.
  const std::string line = "\n" + entry.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
  write_all(file_.get(), std::as_bytes(std::span(line)), path_);
}

}  // namespace troupe
