#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>

#include "common/messages/messages.h"

namespace troupe {

/// Where a group's record lies: file number and frame.
struct RolloutPlace {
  std::uint32_t file = 0;
  std::uint64_t offset = 0;
  std::uint64_t size = 0;
  bool operator==(const RolloutPlace&) const = default;
};

/// `folder`/NNNNNN.log.
std::filesystem::path rollout_file(const std::filesystem::path& folder, std::uint32_t file);

/// Appends GroupRecords to RUN/rollouts/NNNNNN.log: one framed_file frame each, its body the record in cereal's portable
/// binary, compressed with zstd (checksum flag on). A new file is begun at 64 MiB, and where `begin_file` asks for it. One thread
/// at a time.
class RolloutLogWriter {
 public:
  /// Goes on in the newest file of `folder`, which is made where it is missing. @throws ConfigError where that file is corrupt.
  explicit RolloutLogWriter(const std::filesystem::path& folder, std::uint64_t file_bytes = std::uint64_t{64} << 20);
  ~RolloutLogWriter();
  RolloutPlace append(const GroupRecord& record);
  /// What follows goes into a new file, unless the present one is empty: files that end with a checkpoint can go with it.
  void begin_file();
  /// Makes everything appended durable.
  void sync();
  /// What was cut from the newest file's end when it was opened: a frame that a crash had cut short.
  std::uint64_t cut_bytes() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// Reads records by place. One thread at a time.
class RolloutLogReader {
 public:
  explicit RolloutLogReader(const std::filesystem::path& folder);
  ~RolloutLogReader();
  /// @throws ConfigError naming file and offset where the frame is missing or corrupt.
  GroupRecord read(const RolloutPlace& place);
  /// Reads every frame of a file. @throws ConfigError naming file and offset of the first that is corrupt.
  void check_file(std::uint32_t file) const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace troupe
