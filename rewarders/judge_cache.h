#pragma once

#include <cstddef>
#include <map>
#include <mutex>
#include <optional>
#include <string>

#include "common/base/files.h"

namespace troupe {

/// What a judge replied, by the checksum of what it was asked: in memory, and in a file where one is named, which several processes
/// may share. Any thread.
class JudgeCache {
 public:
  /// Reads `path` where it is there; "" keeps nothing on disk. A last line that was cut short is passed over.
  /// @throws ConfigError naming the file and line that is malformed, or why it cannot be opened.
  explicit JudgeCache(const std::string& path);

  std::optional<std::string> find(const std::string& key) const;
  void keep(const std::string& key, const std::string& reply);

 private:
  mutable std::mutex mutex_;
  std::map<std::string, std::string> replies_;
  FileDescriptor file_;
  std::string path_;
};

}  // namespace troupe
