#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace troupe {

/// A POSIX shared memory object (mode 0600), mapped whole. The one who creates it unlinks its name on destruction;
/// whoever has it open keeps the bytes. Move-only.
class SharedMemory {
 public:
  /// Creates `name` ("/…", no further slash) with `size` bytes that are there (no SIGBUS later), writable.
  /// @throws TransportError naming it and the reason: exists already, no room in /dev/shm …
  static SharedMemory create(const std::string& name, std::size_t size);
  /// Opens `name` read-only; nothing where there is none. @throws TransportError naming it and any other reason.
  static std::optional<SharedMemory> open(const std::string& name);

  SharedMemory(SharedMemory&& other) noexcept;
  SharedMemory& operator=(SharedMemory&&) = delete;
  ~SharedMemory();

  const std::string& name() const { return name_; }
  std::span<const std::byte> bytes() const { return {data_, size_}; }
  /// Of the creator only.
  std::span<std::byte> writable_bytes();

 private:
  SharedMemory(std::string name, std::byte* data, std::size_t size, bool creator)
      : name_(std::move(name)), data_(data), size_(size), creator_(creator) {}

  std::string name_;
  std::byte* data_ = nullptr;
  std::size_t size_ = 0;
  bool creator_ = false;
};

/// Unlinks every shared memory object whose name is `prefix` and then digits only; returns how many.
int unlink_shared_memory(std::string_view prefix);

}  // namespace troupe
