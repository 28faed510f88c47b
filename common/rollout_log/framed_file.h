#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

#include "common/base/files.h"

namespace troupe {

/// A frame's place in a framed file.
struct FramePosition {
  std::uint64_t offset = 0;
  std::uint64_t size = 0;  // header and body
};

/// Appends checksummed frames to a file: header (magic, type, body length, XXH3-64 of the body, XXH3-64 of the header itself)
/// and body. The base of the ledger and the rollout log. One thread at a time.
class FramedFileWriter {
 public:
  /// Opens for appending at the end of the last whole frame; a frame that the file's end cuts short is a torn tail and is
  /// cut off (`cut_bytes()` tells). @throws ConfigError naming file and offset where a complete header or frame is corrupt.
  explicit FramedFileWriter(const std::filesystem::path& path);

  /// @throws TransportError naming the path (no space …); the file then ends where it ended before.
  FramePosition append(std::uint16_t type, const std::string& body);
  /// Makes everything appended durable (fsync). @throws TransportError naming the path; after a failed fsync nobody knows what
  /// is on disk, so every later call is refused too.
  void sync();
  std::uint64_t cut_bytes() const { return cut_bytes_; }
  std::uint64_t size() const { return size_; }

 private:
  std::filesystem::path path_;
  FileDescriptor fd_;
  std::uint64_t size_ = 0;
  std::uint64_t cut_bytes_ = 0;
  std::string broken_;  // why nothing more may be written
};

struct Frame {
  std::uint16_t type = 0;
  std::string body;
  FramePosition position;
};

/// Reads frames in order, or one at a place. One thread at a time.
class FramedFileReader {
 public:
  explicit FramedFileReader(const std::filesystem::path& path);
  /// The next frame; nothing at the end or at a torn tail (`torn_bytes()` tells). @throws ConfigError naming file and offset
  /// where a complete header or frame has a wrong checksum.
  std::optional<Frame> next();
  /// The frame at a place that a writer gave. @throws ConfigError where there is no such frame or it is corrupt.
  Frame at(const FramePosition& position);
  std::uint64_t torn_bytes() const { return torn_bytes_; }
  /// Where the next frame begins: after everything read so far by next().
  std::uint64_t offset() const { return offset_; }

 private:
  std::optional<Frame> read(std::uint64_t offset) const;

  std::filesystem::path path_;
  FileDescriptor fd_;
  std::uint64_t size_ = 0;
  std::uint64_t offset_ = 0;
  std::uint64_t torn_bytes_ = 0;
};

}  // namespace troupe
