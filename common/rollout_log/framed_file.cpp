#include "common/rollout_log/framed_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <span>
#include <string_view>

#include "common/base/checksum.h"
#include "common/base/error.h"
#include "common/base/fault.h"

namespace troupe {
namespace {

// The header, little-endian: magic 4, type 2, zero 2, body length 8, checksum of the body 8, checksum of the 24 before it 8.
constexpr std::string_view kMagic = "TRFF";
constexpr std::size_t kTypeAt = 4;
constexpr std::size_t kLengthAt = 8;
constexpr std::size_t kBodySumAt = 16;
constexpr std::size_t kHeaderSumAt = 24;
constexpr std::size_t kHeaderBytes = 32;

template <class Int>
void put(std::string& out, std::size_t at, Int value) {
  for (std::size_t i = 0; i < sizeof(Int); ++i) out[at + i] = static_cast<char>((value >> (8 * i)) & 0xff);
}
template <class Int>
Int get(std::string_view bytes, std::size_t at) {
  std::uint64_t value = 0;
  for (std::size_t i = 0; i < sizeof(Int); ++i) value |= std::uint64_t{static_cast<unsigned char>(bytes[at + i])} << (8 * i);
  return static_cast<Int>(value);
}

std::string frame_of(std::uint16_t type, const std::string& body) {
  std::string frame(kHeaderBytes, '\0');
  frame.reserve(kHeaderBytes + body.size());
  frame.replace(0, kMagic.size(), kMagic);
  put(frame, kTypeAt, type);
  put(frame, kLengthAt, std::uint64_t{body.size()});
  put(frame, kBodySumAt, xxh3_64(std::string_view(body)));
  put(frame, kHeaderSumAt, xxh3_64(std::string_view(frame).substr(0, kHeaderSumAt)));
  return frame += body;
}

[[noreturn]] void corrupt(const std::filesystem::path& path, std::uint64_t offset, const std::string& what) {
  throw ConfigError(path.string() + ": corrupt at offset " + std::to_string(offset) + ": " + what);
}

std::uint64_t size_of(int fd, const std::filesystem::path& path) {
  struct stat status {};
  if (::fstat(fd, &status) != 0) throw ConfigError("cannot look at " + path.string() + ": " + std::strerror(errno));
  return static_cast<std::uint64_t>(status.st_size);
}

std::string read_at(int fd, const std::filesystem::path& path, std::uint64_t offset, std::size_t size) {
  std::string bytes(size, '\0');
  for (std::size_t done = 0; done < size;) {
    const ssize_t got = ::pread(fd, bytes.data() + done, size - done, static_cast<off_t>(offset + done));
    if (got > 0) {
      done += static_cast<std::size_t>(got);
    } else if (got == 0 || errno != EINTR) {
      throw ConfigError("cannot read " + path.string() + " at offset " + std::to_string(offset + done) + ": " +
                        (got == 0 ? "the file became shorter" : std::strerror(errno)));
    }
  }
  return bytes;
}

}  // namespace

FramedFileWriter::FramedFileWriter(const std::filesystem::path& path) : path_(path) {
  const bool is_new = !std::filesystem::exists(path);
  fd_ = FileDescriptor(::open(path.c_str(), O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0644));
  if (!fd_) throw ConfigError("cannot open " + path.string() + " for writing: " + std::strerror(errno));
  if (is_new) sync_folder(path.has_parent_path() ? path.parent_path() : ".");
  FramedFileReader reader(path);
  while (reader.next()) {
  }
  size_ = reader.offset();
  cut_bytes_ = reader.torn_bytes();
  if (cut_bytes_ == 0) return;
  if (::ftruncate(fd_.get(), static_cast<off_t>(size_)) != 0) {
    throw TransportError("cannot cut the torn tail of " + path.string() + ": " + std::strerror(errno));
  }
  sync();
}

FramePosition FramedFileWriter::append(std::uint16_t type, const std::string& body) {
  if (!broken_.empty()) throw TransportError(broken_);
  const std::string frame = frame_of(type, body);
  try {
    const auto bytes = std::as_bytes(std::span(frame));
    write_all(fd_.get(), bytes.first(kHeaderBytes), path_.string());
    fault::point("frame.inside");
    write_all(fd_.get(), bytes.subspan(kHeaderBytes), path_.string());
  } catch (const TransportError& e) {
    // Half a frame in the middle of the file would be corruption for every later reader.
    if (::ftruncate(fd_.get(), static_cast<off_t>(size_)) != 0) broken_ = e.what();
    throw;
  }
  const FramePosition position{size_, frame.size()};
  size_ += frame.size();
  return position;
}

void FramedFileWriter::sync() {
  if (!broken_.empty()) throw TransportError(broken_);
  try {
    sync_file(fd_.get(), path_.string());
  } catch (const TransportError& e) {
    broken_ = e.what();
    throw;
  }
}

FramedFileReader::FramedFileReader(const std::filesystem::path& path) : path_(path) {
  fd_ = FileDescriptor(::open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC));
  if (!fd_) throw ConfigError("cannot open " + path.string() + ": " + std::strerror(errno));
  size_ = size_of(fd_.get(), path_);
}

/// The frame at `offset`; nothing where the file ends before it does. @throws ConfigError where it is complete but corrupt.
std::optional<Frame> FramedFileReader::read(std::uint64_t offset) const {
  const std::uint64_t left = size_ - offset;
  if (left < kHeaderBytes) return std::nullopt;
  const std::string header = read_at(fd_.get(), path_, offset, kHeaderBytes);
  // The header first: only then is its length worth believing, and a short file after it a torn tail.
  if (!header.starts_with(kMagic)) corrupt(path_, offset, "expected a frame's magic \"TRFF\", found other bytes");
  if (get<std::uint64_t>(header, kHeaderSumAt) != xxh3_64(std::string_view(header).substr(0, kHeaderSumAt))) {
    corrupt(path_, offset, "the checksum of the frame's header does not match");
  }
  const auto length = get<std::uint64_t>(header, kLengthAt);
  if (length > left - kHeaderBytes) return std::nullopt;
  Frame frame{get<std::uint16_t>(header, kTypeAt),
              read_at(fd_.get(), path_, offset + kHeaderBytes, static_cast<std::size_t>(length)),
              {offset, kHeaderBytes + length}};
  if (get<std::uint64_t>(header, kBodySumAt) != xxh3_64(std::string_view(frame.body))) {
    corrupt(path_, offset, "the checksum of the frame's body of " + std::to_string(length) + " bytes does not match");
  }
  return frame;
}

std::optional<Frame> FramedFileReader::next() {
  std::optional<Frame> frame = read(offset_);
  if (frame) {
    offset_ += frame->position.size;
  } else {
    torn_bytes_ = size_ - offset_;
  }
  return frame;
}

Frame FramedFileReader::at(const FramePosition& position) {
  size_ = size_of(fd_.get(), path_);  // the writer may have appended since
  std::optional<Frame> frame;
  if (position.offset <= size_) frame = read(position.offset);
  if (!frame) {
    corrupt(path_, position.offset,
            "expected a frame of " + std::to_string(position.size) + " bytes, the file ends at " + std::to_string(size_));
  }
  if (frame->position.size != position.size) {
    corrupt(path_, position.offset, "expected a frame of " + std::to_string(position.size) + " bytes, found one of " +
                                        std::to_string(frame->position.size));
  }
  return *std::move(frame);
}

}  // namespace troupe
