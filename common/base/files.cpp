#include "common/base/files.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

#include "common/base/error.h"
#include "common/base/fault.h"
#include "common/base/text.h"

namespace troupe {
namespace {

std::string reason() { return std::strerror(errno); }

template <class ErrorType>
[[noreturn]] void fail(const std::string& action, const std::filesystem::path& path) {
  throw ErrorType("cannot " + action + " " + path.string() + ": " + reason());
}

FileDescriptor open_for_reading(const std::filesystem::path& path) {
  FileDescriptor fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd) fail<ConfigError>("open", path);
  return fd;
}

/// Everything from the descriptor's position to its end.
std::string read_to_end(int fd, const std::filesystem::path& path) {
  std::string bytes;
  std::array<char, 1 << 16> buffer;
  while (true) {
    const ssize_t got = ::read(fd, buffer.data(), buffer.size());
    if (got == 0) return bytes;
    if (got > 0) bytes.append(buffer.data(), static_cast<std::size_t>(got));
    if (got < 0 && errno != EINTR) fail<ConfigError>("read", path);
  }
}

std::string host_name() {
  std::array<char, 256> name{};
  if (::gethostname(name.data(), name.size() - 1) != 0) return "unknown-host";
  return name.data();
}

/// Removes a temporary file unless it was renamed into place.
class TemporaryFile {
 public:
  explicit TemporaryFile(const std::filesystem::path& target) : name_(target.string() + ".tmp-XXXXXX") {
    fd_ = FileDescriptor(::mkostemp(name_.data(), O_CLOEXEC));
    if (!fd_) fail<TransportError>("create a temporary file beside", target);
  }
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;
  ~TemporaryFile() {
    if (!name_.empty()) ::unlink(name_.c_str());
  }
  int fd() const { return fd_.get(); }
  void rename_to(const std::filesystem::path& target) {
    fault::point("file.rename");
    if (::rename(name_.c_str(), target.c_str()) != 0) fail<TransportError>("rename " + name_ + " to", target);
    name_.clear();
  }

 private:
  std::string name_;
  FileDescriptor fd_;
};

}  // namespace

std::string read_file(const std::filesystem::path& path) {
  const FileDescriptor fd = open_for_reading(path);
  return read_to_end(fd.get(), path);
}

void write_file_atomically(const std::filesystem::path& path, std::string_view bytes, int mode) {
  write_file_atomically(path, std::span(&bytes, 1), mode);
}

void write_file_atomically(const std::filesystem::path& path, std::span<const std::string_view> pieces, int mode) {
  TemporaryFile temporary(path);
  if (::fchmod(temporary.fd(), static_cast<mode_t>(mode)) != 0) fail<TransportError>("set the mode of", path);
  for (const auto piece : pieces) write_all(temporary.fd(), std::as_bytes(std::span(piece)), path.string());
  sync_file(temporary.fd(), path.string());
  temporary.rename_to(path);
  sync_folder(path.has_parent_path() ? path.parent_path() : ".");
}

void sync_folder(const std::filesystem::path& folder) {
  const FileDescriptor fd(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd) fail<TransportError>("open the folder", folder);
  sync_file(fd.get(), folder.string());
}

FileDescriptor& FileDescriptor::operator=(FileDescriptor&& other) noexcept {
  if (this != &other) {
    if (fd_ >= 0) ::close(fd_);
    fd_ = other.release();
  }
  return *this;
}

FileDescriptor::~FileDescriptor() {
  if (fd_ >= 0) ::close(fd_);
}

int FileDescriptor::release() { return std::exchange(fd_, -1); }

void write_all(int fd, std::span<const std::byte> bytes, std::string_view what) {
  while (!bytes.empty()) {
    fault::point("file.write");
    const ssize_t written = ::write(fd, bytes.data(), bytes.size());
    if (written >= 0) {
      bytes = bytes.subspan(static_cast<std::size_t>(written));
    } else if (errno != EINTR) {
      fail<TransportError>("write", what);
    }
  }
}

void sync_file(int fd, std::string_view what) {
  fault::point("file.fsync");
  if (::fsync(fd) != 0) fail<TransportError>("fsync", what);
}

FolderLock::FolderLock(const std::filesystem::path& path)
    : fd_(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644)) {
  if (!fd_) fail<ConfigError>("open the lock file", path);
  if (::flock(fd_.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK) fail<ConfigError>("lock", path);
    throw ConfigError(path.parent_path().string() + " is in use by " +
                      std::string(trim(read_to_end(fd_.get(), path))) + " (lock file " + path.string() + ")");
  }
  if (::ftruncate(fd_.get(), 0) != 0) fail<ConfigError>("truncate the lock file", path);
  const std::string owner = "pid " + std::to_string(::getpid()) + " on host " + host_name() + "\n";
  write_all(fd_.get(), std::as_bytes(std::span(owner)), path.string());
}

MappedFile::MappedFile(const std::filesystem::path& path) {
  const FileDescriptor fd = open_for_reading(path);
  struct stat status {};
  if (::fstat(fd.get(), &status) != 0) fail<ConfigError>("read the size of", path);
  if (!S_ISREG(status.st_mode)) throw ConfigError("cannot map " + path.string() + ": not a regular file");
  size_ = static_cast<std::size_t>(status.st_size);
  if (size_ == 0) return;  // mmap refuses an empty range
  void* address = ::mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, fd.get(), 0);
  if (address == MAP_FAILED) fail<ConfigError>("map", path);
  data_ = static_cast<const std::byte*>(address);
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) ::munmap(const_cast<std::byte*>(data_), size_);
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}

}  // namespace troupe
