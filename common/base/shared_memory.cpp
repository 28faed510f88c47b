#include "common/base/shared_memory.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <system_error>
#include <utility>

#include "common/base/error.h"
#include "common/base/files.h"

namespace troupe {
namespace {

[[noreturn]] void fail(const std::string& name, const std::string& what, int code) {
  throw TransportError("shared memory " + name + ": " + what + ": " + std::strerror(code));
}

std::byte* map(const FileDescriptor& fd, std::size_t size, int protection, const std::string& name) {
  if (size == 0) return nullptr;
  void* data = ::mmap(nullptr, size, protection, MAP_SHARED, fd.get(), 0);
  if (data == MAP_FAILED) fail(name, "cannot map " + std::to_string(size) + " bytes", errno);
  return static_cast<std::byte*>(data);
}

}  // namespace

SharedMemory SharedMemory::create(const std::string& name, std::size_t size) {
  const FileDescriptor fd(::shm_open(name.c_str(), O_CREAT | O_EXCL | O_RDWR, 0600));
  if (!fd) fail(name, "cannot create", errno);
  // Reserves the pages: a full /dev/shm is an error here and not a SIGBUS at the first write.
  const int code = size == 0 ? 0 : ::posix_fallocate(fd.get(), 0, static_cast<off_t>(size));
  if (code != 0) {
    ::shm_unlink(name.c_str());
    fail(name, "no room for " + std::to_string(size) + " bytes", code);
  }
  return {name, map(fd, size, PROT_READ | PROT_WRITE, name), size, true};
}

std::optional<SharedMemory> SharedMemory::open(const std::string& name) {
  const FileDescriptor fd(::shm_open(name.c_str(), O_RDONLY, 0));
  if (!fd && errno == ENOENT) return std::nullopt;
  if (!fd) fail(name, "cannot open", errno);
  struct stat status {};
  if (::fstat(fd.get(), &status) != 0) fail(name, "cannot stat", errno);
  const auto size = static_cast<std::size_t>(status.st_size);
  return SharedMemory(name, map(fd, size, PROT_READ, name), size, false);
}

SharedMemory::SharedMemory(SharedMemory&& other) noexcept
    : name_(std::move(other.name_)),
      data_(std::exchange(other.data_, nullptr)),
      size_(std::exchange(other.size_, 0)),
      creator_(std::exchange(other.creator_, false)) {}

SharedMemory::~SharedMemory() {
  if (data_ != nullptr) ::munmap(data_, size_);
  if (creator_) ::shm_unlink(name_.c_str());
}

std::span<std::byte> SharedMemory::writable_bytes() {
  check(creator_, "SharedMemory: only its creator writes");
  return {data_, size_};
}

int unlink_shared_memory(std::string_view prefix) {
  if (prefix.starts_with('/')) prefix.remove_prefix(1);
  int unlinked = 0;
  std::error_code ignored;  // no /dev/shm: nothing to clear
  for (const auto& entry : std::filesystem::directory_iterator("/dev/shm", ignored)) {
    const std::string name = entry.path().filename().string();
    if (!name.starts_with(prefix) || name.size() == prefix.size()) continue;
    const auto is_digit = [](char c) { return c >= '0' && c <= '9'; };
    if (!std::ranges::all_of(std::string_view(name).substr(prefix.size()), is_digit)) continue;
    if (::shm_unlink(("/" + name).c_str()) == 0) ++unlinked;
  }
  return unlinked;
}

}  // namespace troupe
