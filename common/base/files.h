#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>

namespace troupe {

/// The whole file as bytes. @throws ConfigError naming the path and the reason.
std::string read_file(const std::filesystem::path& path);

/// Replaces `path` by `bytes`: temporary file beside it, fsync, rename, fsync of the folder. Either the old or the new file
/// is there at every moment. @throws TransportError naming the path and the reason (no space, read-only …).
void write_file_atomically(const std::filesystem::path& path, std::string_view bytes, int mode = 0644);
/// The same of several pieces, one after the other.
void write_file_atomically(const std::filesystem::path& path, std::span<const std::string_view> pieces, int mode = 0644);

/// fsync of a folder, so that renames in it are durable. @throws TransportError.
void sync_folder(const std::filesystem::path& folder);

/// An open file descriptor that is closed on destruction. Move-only.
class FileDescriptor {
 public:
  FileDescriptor() = default;
  explicit FileDescriptor(int fd) : fd_(fd) {}
  FileDescriptor(FileDescriptor&& other) noexcept : fd_(other.release()) {}
  FileDescriptor& operator=(FileDescriptor&& other) noexcept;
  ~FileDescriptor();
  int get() const { return fd_; }
  int release();
  explicit operator bool() const { return fd_ >= 0; }

 private:
  int fd_ = -1;
};

/// Writes all bytes at the file's position; retries short writes and EINTR. @throws TransportError naming `what`.
void write_all(int fd, std::span<const std::byte> bytes, std::string_view what);
/// fsync. @throws TransportError naming `what`; a failed fsync is never retried.
void sync_file(int fd, std::string_view what);

/// An exclusive advisory lock (flock) on `path`, which then holds this process's pid and host. Released on destruction.
class FolderLock {
 public:
  /// @throws ConfigError naming the owner's pid and host where another process holds it.
  explicit FolderLock(const std::filesystem::path& path);

 private:
  FileDescriptor fd_;
};

/// A read-only mapping of a whole file. Move-only.
class MappedFile {
 public:
  /// @throws ConfigError naming the path and the reason.
  explicit MappedFile(const std::filesystem::path& path);
  ~MappedFile();
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&&) = delete;
  std::span<const std::byte> bytes() const { return {data_, size_}; }

 private:
  const std::byte* data_ = nullptr;
  std::size_t size_ = 0;
};

}  // namespace troupe
