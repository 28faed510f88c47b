#include "common/gguf/gguf_file.h"

#include <charconv>
#include <cstring>
#include <string_view>
#include <utility>

#include "common/base/error.h"
#include "common/base/utf8.h"

namespace troupe {
namespace {

using nlohmann::json;

constexpr std::uint64_t kMostListed = 1 << 24;  // list elements of a whole file: far above any vocabulary's
constexpr std::uint64_t kMostNameBytes = 1 << 16;
constexpr std::uint32_t kMostDimensions = 4;
constexpr std::int64_t kDefaultAlignment = 32, kMostAlignment = 1 << 20;

enum class ValueType : std::uint32_t { kU8, kI8, kU16, kI16, kU32, kI32, kF32, kBool, kText, kList, kU64, kI64, kF64 };

double shortest(float value) {
  char text[32];
  const auto end = std::to_chars(std::begin(text), std::end(text), value).ptr;
  double result = 0;
  std::from_chars(text, end, result);
  return result;
}

/// The product of the dimensions; -1 where one is not above 0, or where the product is larger than any memory.
std::int64_t elements_of(const std::vector<std::int64_t>& shape) {
  std::int64_t elements = 1, bytes = 0;
  for (const std::int64_t size : shape) {
    if (size < 1 || __builtin_mul_overflow(elements, size, &elements)) return -1;
  }
  return __builtin_mul_overflow(elements, std::int64_t{8}, &bytes) ? -1 : elements;
}

std::uint64_t bytes_of(const GgufTensor& tensor) {
  const BlockSize block = block_size_of(tensor.type);
  return static_cast<std::uint64_t>(tensor.elements / block.elements * block.bytes);
}

std::int64_t alignment_of(const json& metadata, const std::string& where) {
  const auto found = metadata.find("general.alignment");
  if (found == metadata.end()) return kDefaultAlignment;
  const bool in_range = found->is_number_unsigned() && *found >= 1 && *found <= kMostAlignment;
  const auto alignment = in_range ? found->get<std::int64_t>() : 0;
  if (alignment == 0 || (alignment & (alignment - 1)) != 0) {
    throw ConfigError(where + ": key \"general.alignment\": expected a power of two up to " + std::to_string(kMostAlignment) +
                      ", found " + found->dump(-1, ' ', false, json::error_handler_t::replace));
  }
  return alignment;
}

std::uint64_t rounded_up(std::uint64_t value, std::int64_t alignment) {
  const auto step = static_cast<std::uint64_t>(alignment);
  return (value + step - 1) / step * step;
}

}  // namespace

/// The file's bytes from the front, each read checked against what is left.
class GgufFile::Reader {
 public:
  Reader(std::span<const std::byte> bytes, const std::string& where) : bytes_(bytes), where_(where) {}

  [[noreturn]] void fail(const std::string& what) const { throw ConfigError(where_ + ": " + what); }
  std::size_t position() const { return position_; }
  std::size_t left() const { return bytes_.size() - position_; }

  std::span<const std::byte> take(std::uint64_t count, const std::string& what) {
    if (count > left()) {
      fail("cut short: " + what + " takes " + std::to_string(count) + " bytes at offset " + std::to_string(position_) +
           ", the file has " + std::to_string(left()) + " left");
    }
    const auto taken = bytes_.subspan(position_, static_cast<std::size_t>(count));
    position_ += taken.size();
    return taken;
  }

  template <typename T>
  T number(const std::string& what) {
    T value;
    std::memcpy(&value, take(sizeof(T), what).data(), sizeof(T));
    return value;
  }

  std::string text(const std::string& what, std::uint64_t most = ~std::uint64_t{0}) {
    const auto length = number<std::uint64_t>(what + "'s length");
    if (length > most)
      fail(what + " is announced with " + std::to_string(length) + " bytes, at most " + std::to_string(most) + " are allowed");
    const auto bytes = take(length, what);
    const std::string_view characters(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    if (valid_utf8_prefix(characters) != characters.size()) fail(what + " is not UTF-8");
    return std::string(characters);
  }

  json value(ValueType type, const std::string& what) {
    switch (type) {
      case ValueType::kU8:
        return number<std::uint8_t>(what);
      case ValueType::kI8:
        return number<std::int8_t>(what);
      case ValueType::kU16:
        return number<std::uint16_t>(what);
      case ValueType::kI16:
        return number<std::int16_t>(what);
      case ValueType::kU32:
        return number<std::uint32_t>(what);
      case ValueType::kI32:
        return number<std::int32_t>(what);
      case ValueType::kU64:
        return number<std::uint64_t>(what);
      case ValueType::kI64:
        return number<std::int64_t>(what);
      case ValueType::kF32:
        return shortest(number<float>(what));
      case ValueType::kF64:
        return number<double>(what);
      case ValueType::kBool:
        return truth(what);
      case ValueType::kText:
        return text(what);
      case ValueType::kList:
        return list(what);
    }
    fail(what + ": expected a type from 0 to 12, found " + std::to_string(static_cast<std::uint32_t>(type)));
  }

  /// Shape and type of an entry of the tensor table.
  GgufTensor tensor(const std::string& what) {
    const auto dimensions = number<std::uint32_t>(what + "'s number of dimensions");
    if (dimensions > kMostDimensions) fail(what + ": expected up to 4 dimensions, found " + std::to_string(dimensions));
    GgufTensor tensor;
    for (std::uint32_t d = 0; d < dimensions; ++d)
      tensor.shape.insert(tensor.shape.begin(), number<std::int64_t>(what + "'s shape"));
    try {
      tensor.type = block_type_of(number<std::uint32_t>(what + "'s type"));
    } catch (const ConfigError& error) {
      fail(what + ": " + error.what());
    }
    tensor.elements = elements_of(tensor.shape);
    if (tensor.elements < 0) fail(what + ": shape " + json(tensor.shape).dump() + " is empty, negative or larger than any memory");
    const std::int64_t block = block_size_of(tensor.type).elements;
    if ((tensor.shape.empty() ? 1 : tensor.shape.back()) % block != 0) {
      fail(what + ": rows of shape " + json(tensor.shape).dump() + " are no whole blocks of " + std::to_string(block) + " numbers");
    }
    return tensor;
  }

 private:
  bool truth(const std::string& what) {
    const auto byte = number<std::uint8_t>(what);
    if (byte > 1) fail(what + ": expected 0 or 1 for a truth value, found " + std::to_string(byte));
    return byte == 1;
  }

  json list(const std::string& what) {
    const auto type = static_cast<ValueType>(number<std::uint32_t>(what + "'s element type"));
    const auto count = number<std::uint64_t>(what + "'s length");
    if (type == ValueType::kList) fail(what + ": lists of lists are not supported");
    // Each element takes at least a byte: a length that could not be true is refused before memory is set aside.
    if (count > left())
      fail("cut short: " + what + " announces " + std::to_string(count) + " elements, the file has " + std::to_string(left()) +
           " bytes left");
    if (count > kMostListed - listed_)
      fail(what + " announces " + std::to_string(count) + " elements, at most " + std::to_string(kMostListed) +
           " are allowed in a file");
    listed_ += count;
    json elements = json::array();
    for (std::uint64_t i = 0; i < count; ++i) elements.push_back(value(type, what));
    return elements;
  }

  std::span<const std::byte> bytes_;
  const std::string& where_;
  std::size_t position_ = 0;
  std::uint64_t listed_ = 0;
};

GgufFile::GgufFile(const std::filesystem::path& path) : where_(path.string()), file_(path) {
  Reader reader(file_.bytes(), where_);
  const auto magic = reader.take(4, "the magic word");
  if (std::memcmp(magic.data(), "GGUF", 4) != 0) reader.fail("not a GGUF file: it does not begin with \"GGUF\"");
  const auto version = reader.number<std::uint32_t>("the version");
  if (version != 2 && version != 3) {
    reader.fail("GGUF version " + std::to_string(version) + " is not supported; 2 and 3 are" +
                ((version & 0xFFFF) == 0 ? " (the file may be big-endian)" : ""));
  }
  const auto tensors = reader.number<std::uint64_t>("the number of tensors");
  const auto keys = reader.number<std::uint64_t>("the number of keys");
  read_metadata(reader, keys);
  read_tensors(reader, tensors);
}

void GgufFile::read_metadata(Reader& reader, std::uint64_t count) {
  for (std::uint64_t i = 0; i < count; ++i) {
    const std::string key = reader.text("key " + std::to_string(i), kMostNameBytes);
    const std::string what = "key \"" + key + "\"";
    if (metadata_.contains(key)) reader.fail(what + " stands twice");
    const auto type = static_cast<ValueType>(reader.number<std::uint32_t>(what + "'s type"));
    metadata_[key] = reader.value(type, what);
  }
}

void GgufFile::read_tensors(Reader& reader, std::uint64_t count) {
  const std::int64_t alignment = alignment_of(metadata_, where_);
  const std::uint64_t size = file_.bytes().size();
  std::uint64_t covered = 0;  // bytes of the data, which tensors fill in the order of the table, each from an aligned offset on
  std::vector<std::pair<GgufTensor*, std::uint64_t>> offsets;
  for (std::uint64_t i = 0; i < count; ++i) {
    const std::string name = reader.text("the name of tensor " + std::to_string(i), kMostNameBytes);
    const std::string what = "tensor \"" + name + "\"";
    const auto [entry, is_new] = tensors_.emplace(name, reader.tensor(what));
    if (!is_new) reader.fail(what + " stands twice");
    const auto offset = reader.number<std::uint64_t>(what + "'s offset"), expected = rounded_up(covered, alignment);
    if (offset != expected) {
      reader.fail(what + " begins at offset " + std::to_string(offset) + " of the data, expected " + std::to_string(expected) +
                  ": tensors may neither overlap nor leave gaps");
    }
    const std::uint64_t bytes = bytes_of(entry->second);
    if (bytes > size || offset > size) {
      reader.fail("cut short: " + what + " takes " + std::to_string(bytes) + " bytes, the whole file has " + std::to_string(size));
    }
    covered = offset + bytes;
    offsets.emplace_back(&entry->second, offset);
  }
  const std::uint64_t data = rounded_up(reader.position(), alignment), present = size < data ? 0 : size - data;
  if (covered > present || present >= covered + static_cast<std::uint64_t>(alignment)) {
    reader.fail(std::string(covered > present ? "cut short: " : "") + "the tensors need " + std::to_string(covered) +
                " bytes, the file has " + std::to_string(present) + " after its tables");
  }
  for (const auto& [tensor, offset] : offsets) {
    tensor->bytes = file_.bytes().subspan(static_cast<std::size_t>(data + offset), static_cast<std::size_t>(bytes_of(*tensor)));
  }
}

}  // namespace troupe
