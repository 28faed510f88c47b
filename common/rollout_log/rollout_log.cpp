#include "common/rollout_log/rollout_log.h"

#include <zstd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdio>
#include <optional>
#include <string_view>
#include <utility>

#include "common/base/error.h"
#include "common/messages/frame.h"
#include "common/rollout_log/framed_file.h"

namespace troupe {
namespace {

constexpr std::uint16_t kGroupRecordFrame = 1;
constexpr int kCompressionLevel = 3;

/// The highest number of a file in the folder; nothing where there is none.
std::optional<std::uint32_t> newest_file(const std::filesystem::path& folder) {
  std::optional<std::uint32_t> newest;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    const std::string name = entry.path().filename().string();
    std::uint32_t number = 0;
    const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), number);
    if (error == std::errc() && std::string_view(end) == ".log") newest = std::max(newest.value_or(0), number);
  }
  return newest;
}

struct FreeContext {
  void operator()(ZSTD_CCtx* context) const { ZSTD_freeCCtx(context); }
};
using CompressionContext = std::unique_ptr<ZSTD_CCtx, FreeContext>;

std::string decompressed(const std::string& bytes) {
  const unsigned long long size = ZSTD_getFrameContentSize(bytes.data(), bytes.size());
  if (size == ZSTD_CONTENTSIZE_ERROR || size == ZSTD_CONTENTSIZE_UNKNOWN || size > kMaxFrameBytes) {
    throw ProtocolError("expected a zstd frame that gives a size of at most " + std::to_string(kMaxFrameBytes));
  }
  std::string out(static_cast<std::size_t>(size), '\0');
  const std::size_t got = ZSTD_decompress(out.data(), out.size(), bytes.data(), bytes.size());
  if (ZSTD_isError(got)) throw ProtocolError(std::string("zstd: ") + ZSTD_getErrorName(got));
  if (got != out.size()) throw ProtocolError("the zstd frame is shorter than the size that it gives");
  return out;
}

}  // namespace

std::filesystem::path rollout_file(const std::filesystem::path& folder, std::uint32_t file) {
  std::array<char, 32> name{};
  std::snprintf(name.data(), name.size(), "%06u.log", file);
  return folder / name.data();
}

struct RolloutLogWriter::State {
  State(std::filesystem::path folder_, std::uint64_t file_bytes_)
      : folder(std::move(folder_)), file_bytes(file_bytes_), context(ZSTD_createCCtx()) {
    check(context != nullptr, "ZSTD_createCCtx");
    ZSTD_CCtx_setParameter(context.get(), ZSTD_c_compressionLevel, kCompressionLevel);
    ZSTD_CCtx_setParameter(context.get(), ZSTD_c_checksumFlag, 1);
  }

  std::string compressed(const std::string& bytes) {
    std::string out(ZSTD_compressBound(bytes.size()), '\0');
    const std::size_t size = ZSTD_compress2(context.get(), out.data(), out.size(), bytes.data(), bytes.size());
    check(!ZSTD_isError(size), "ZSTD_compress2");
    out.resize(size);
    return out;
  }

  const std::filesystem::path folder;
  const std::uint64_t file_bytes;
  CompressionContext context;
  std::uint32_t file = 0;
  std::unique_ptr<FramedFileWriter> writer;
  std::uint64_t cut_bytes = 0;
};

RolloutLogWriter::RolloutLogWriter(const std::filesystem::path& folder, std::uint64_t file_bytes)
    : state_(std::make_unique<State>(folder, file_bytes)) {
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (error) throw ConfigError("cannot make the folder " + folder.string() + ": " + error.message());
  state_->file = newest_file(folder).value_or(0);
  state_->writer = std::make_unique<FramedFileWriter>(rollout_file(folder, state_->file));
  state_->cut_bytes = state_->writer->cut_bytes();
}

RolloutLogWriter::~RolloutLogWriter() = default;

RolloutPlace RolloutLogWriter::append(const GroupRecord& record) {
  State& s = *state_;
  if (s.writer->size() >= s.file_bytes) begin_file();
  const FramePosition position = s.writer->append(kGroupRecordFrame, s.compressed(serialize_record(record)));
  return {s.file, position.offset, position.size};
}

void RolloutLogWriter::begin_file() {
  State& s = *state_;
  if (s.writer->size() == 0) return;
  s.writer->sync();  // sync() reaches the newest file only
  s.writer = std::make_unique<FramedFileWriter>(rollout_file(s.folder, s.file + 1));
  ++s.file;
}

void RolloutLogWriter::sync() { state_->writer->sync(); }

std::uint64_t RolloutLogWriter::cut_bytes() const { return state_->cut_bytes; }

struct RolloutLogReader::State {
  std::filesystem::path folder;
  std::uint32_t file = 0;
  std::unique_ptr<FramedFileReader> reader;  // of `file`
};

RolloutLogReader::RolloutLogReader(const std::filesystem::path& folder) : state_(std::make_unique<State>()) {
  state_->folder = folder;
}

RolloutLogReader::~RolloutLogReader() = default;

GroupRecord RolloutLogReader::read(const RolloutPlace& place) {
  State& s = *state_;
  const std::filesystem::path path = rollout_file(s.folder, place.file);
  if (!s.reader || s.file != place.file) {
    s.reader = std::make_unique<FramedFileReader>(path);
    s.file = place.file;
  }
  const Frame frame = s.reader->at({place.offset, place.size});
  try {
    if (frame.type != kGroupRecordFrame) {
      throw ProtocolError("expected a frame of type " + std::to_string(kGroupRecordFrame) + ", found " +
                          std::to_string(frame.type));
    }
    return deserialize_record(decompressed(frame.body));
  } catch (const ProtocolError& e) {
    throw ConfigError(path.string() + ": corrupt at offset " + std::to_string(place.offset) + ": " + e.what());
  }
}

void RolloutLogReader::check_file(std::uint32_t file) const {
  FramedFileReader reader(rollout_file(state_->folder, file));
  while (reader.next()) {
  }
}

}  // namespace troupe
