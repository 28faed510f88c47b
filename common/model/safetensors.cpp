#include "common/model/safetensors.h"

#include <ATen/Functions.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <memory>
#include <span>
#include <string_view>

#include "common/base/error.h"
#include "common/base/files.h"
#include "common/base/strict_json.h"

namespace troupe {
namespace {

static_assert(std::endian::native == std::endian::little, "safetensors are little-endian");

constexpr std::uint64_t kMaxHeaderBytes = 100'000'000;  // the reference's MAX_HEADER_SIZE
constexpr std::size_t kLengthBytes = 8;
constexpr const char* kMetadata = "__metadata__";

struct DtypeName {
  const char* name;
  at::ScalarType type;
};
constexpr std::array kDtypes = {DtypeName{"F64", at::kDouble},
                                DtypeName{"F32", at::kFloat},
                                DtypeName{"F16", at::kHalf},
                                DtypeName{"BF16", at::kBFloat16},
                                DtypeName{"I64", at::kLong},
                                DtypeName{"I32", at::kInt},
                                DtypeName{"I16", at::kShort},
                                DtypeName{"I8", at::kChar},
                                DtypeName{"U8", at::kByte},
                                DtypeName{"BOOL", at::kBool},
                                DtypeName{"F8_E4M3", at::kFloat8_e4m3fn},
                                DtypeName{"F8_E5M2", at::kFloat8_e5m2}};

struct TensorInfo {
  std::string name;
  at::ScalarType dtype;
  std::vector<std::int64_t> shape;
  std::uint64_t begin;  // bytes from the end of the header
  std::uint64_t end;
};

struct Header {
  nlohmann::json json;
  std::size_t bytes;  // the length field included
};

/// The header of a mapped file: the checks come in the reference implementation's order.
Header read_header(std::span<const std::byte> file, const std::string& where) {
  if (file.size() < kLengthBytes) {
    throw ConfigError(where + ": not a safetensors file: it has " + std::to_string(file.size()) +
                      " bytes, the length of the header alone takes 8");
  }
  std::uint64_t length = 0;
  std::memcpy(&length, file.data(), kLengthBytes);
  if (length > kMaxHeaderBytes) {
    throw ConfigError(where + ": not a safetensors file: a header of " + std::to_string(length) +
                      " bytes is announced, at most " + std::to_string(kMaxHeaderBytes) + " are allowed");
  }
  if (length > file.size() - kLengthBytes) {
    throw ConfigError(where + ": cut short or not safetensors: a header of " + std::to_string(length) +
                      " bytes is announced in a file of " + std::to_string(file.size()));
  }
  const std::string_view text(reinterpret_cast<const char*>(file.data()) + kLengthBytes, length);
  if (!text.starts_with('{')) throw ConfigError(where + ": the header does not begin with '{'");
  return {parse_json(text, where + ": header"), kLengthBytes + static_cast<std::size_t>(length)};
}

std::uint64_t unsigned_of(const nlohmann::json& value, const std::string& what) {
  if (!value.is_number_unsigned())
    throw ConfigError(what + ": expected an integer of at least 0, found " + value.dump());
  return value.get<std::uint64_t>();
}

at::ScalarType dtype_of(const std::string& name, const std::string& what) {
  const auto found =
      std::find_if(kDtypes.begin(), kDtypes.end(), [&](const auto& entry) { return name == entry.name; });
  if (found == kDtypes.end()) throw ConfigError(what + ": dtype \"" + name + "\" is not known");
  return found->type;
}

const char* name_of(at::ScalarType type) {
  const auto found =
      std::find_if(kDtypes.begin(), kDtypes.end(), [&](const auto& entry) { return type == entry.type; });
  check(found != kDtypes.end(), "a tensor's dtype has no safetensors name");
  return found->name;
}

TensorInfo read_info(const std::string& name, const nlohmann::json& json, const std::string& where) {
  const std::string what = where + ": tensor \"" + name + "\"";
  TensorInfo info{name, dtype_of(json_get<std::string>(json, "dtype", what), what), {}, 0, 0};
  const nlohmann::json& shape = json_member(json, "shape", what);
  const nlohmann::json& offsets = json_member(json, "data_offsets", what);
  if (!shape.is_array()) throw ConfigError(what + ": shape: expected an array, found " + shape.dump());
  if (!offsets.is_array() || offsets.size() != 2)
    throw ConfigError(what + ": data_offsets: expected two, found " + offsets.dump());
  info.begin = unsigned_of(offsets[0], what + ": data_offsets");
  info.end = unsigned_of(offsets[1], what + ": data_offsets");

  std::int64_t bytes = static_cast<std::int64_t>(c10::elementSize(info.dtype));
  bool empty = false;
  for (const auto& dimension : shape) {
    const std::uint64_t size = unsigned_of(dimension, what + ": shape");
    empty = empty || size == 0;
    std::int64_t signed_size = 0;
    // Also of an empty tensor the other dimensions must fit, since strides are made of them.
    if (__builtin_add_overflow(size, 0, &signed_size) ||
        __builtin_mul_overflow(bytes, std::max<std::int64_t>(signed_size, 1), &bytes)) {
      throw ConfigError(what + ": shape " + shape.dump() + " is larger than any memory");
    }
    info.shape.push_back(signed_size);
  }
  const std::uint64_t expected = empty ? 0 : static_cast<std::uint64_t>(bytes);
  if (info.end < info.begin || info.end - info.begin != expected) {
    throw ConfigError(what + ": data_offsets " + offsets.dump() + " do not span the " + std::to_string(expected) +
                      " bytes of its shape " + shape.dump());
  }
  return info;
}

/// All tensors in the order of their bytes, which they cover without gap or overlap.
std::vector<TensorInfo> read_infos(const Header& header, std::size_t file_bytes, const std::string& where) {
  std::vector<TensorInfo> infos;
  for (const auto& [name, json] : header.json.items()) {
    if (name != kMetadata) infos.push_back(read_info(name, json, where));
  }
  std::sort(infos.begin(), infos.end(),
            [](const auto& a, const auto& b) { return std::pair(a.begin, a.end) < std::pair(b.begin, b.end); });
  std::uint64_t covered = 0;
  for (const TensorInfo& info : infos) {
    if (info.begin != covered) {
      throw ConfigError(where + ": tensor \"" + info.name + "\" begins at offset " + std::to_string(info.begin) +
                        ", expected " + std::to_string(covered) + ": tensors may neither overlap nor leave gaps");
    }
    covered = info.end;
  }
  const std::uint64_t present = file_bytes - header.bytes;
  if (covered != present) {
    throw ConfigError(where + ": the tensors need " + std::to_string(covered) + " bytes, the file has " +
                      std::to_string(present) + " after its header");
  }
  return infos;
}

at::Tensor view_of(const TensorInfo& info, std::size_t header_bytes, const std::shared_ptr<const MappedFile>& file) {
  const auto options = at::TensorOptions().dtype(info.dtype);
  const std::byte* data = file->bytes().data() + header_bytes + info.begin;
  const std::size_t bytes = info.end - info.begin;
  const bool aligned = reinterpret_cast<std::uintptr_t>(data) % c10::elementSize(info.dtype) == 0;
  if (bytes > 0 && aligned) {
    // The mapping is read-only, and so must the tensor be; the deleter's copy keeps the mapping alive.
    return at::from_blob(
        const_cast<std::byte*>(data), info.shape, [file](void*) {}, options);
  }
  at::Tensor copy = at::empty(info.shape, options);
  if (bytes > 0) std::memcpy(copy.mutable_data_ptr(), data, bytes);
  return copy;
}

}  // namespace

std::map<std::string, at::Tensor> read_safetensors(const std::filesystem::path& path) {
  const auto file = std::make_shared<const MappedFile>(path);  // shared by the tensors
  const Header header = read_header(file->bytes(), path.string());
  std::map<std::string, at::Tensor> tensors;
  for (const TensorInfo& info : read_infos(header, file->bytes().size(), path.string())) {
    tensors.emplace(info.name, view_of(info, header.bytes, file));
  }
  return tensors;
}

std::map<std::string, std::string> read_safetensors_metadata(const std::filesystem::path& path) {
  const MappedFile file(path);
  const Header header = read_header(file.bytes(), path.string());
  std::map<std::string, std::string> metadata;
  const auto found = header.json.find(kMetadata);
  if (found == header.json.end()) return metadata;
  if (!found->is_object())
    throw ConfigError(path.string() + ": __metadata__: expected an object, found " + found->dump());
  for (const auto& [key, value] : found->items()) {
    metadata.emplace(key, json_as<std::string>(value, key, path.string() + ": __metadata__"));
  }
  return metadata;
}

void write_safetensors(const std::filesystem::path& path,
                       const std::vector<std::pair<std::string, at::Tensor>>& tensors,
                       const std::map<std::string, std::string>& metadata) {
  nlohmann::ordered_json header = nlohmann::ordered_json::object();
  if (!metadata.empty()) header[kMetadata] = metadata;
  std::vector<std::string_view> pieces(2);
  std::uint64_t offset = 0;
  for (const auto& [name, tensor] : tensors) {
    check(tensor.device().is_cpu() && tensor.is_contiguous(), "safetensors are written from contiguous CPU tensors");
    check(!header.contains(name), "a tensor is written twice: " + name);
    const auto bytes = static_cast<std::uint64_t>(tensor.nbytes());
    header[name] = {{"dtype", name_of(tensor.scalar_type())},
                    {"shape", std::vector<std::int64_t>(tensor.sizes().begin(), tensor.sizes().end())},
                    {"data_offsets", {offset, offset + bytes}}};
    if (bytes > 0) pieces.emplace_back(static_cast<const char*>(tensor.const_data_ptr()), bytes);
    offset += bytes;
  }
  std::string text = header.dump();
  text.resize((text.size() + 7) / 8 * 8, ' ');  // the data begins aligned
  const auto length = static_cast<std::uint64_t>(text.size());
  pieces[0] = {reinterpret_cast<const char*>(&length), sizeof(length)};
  pieces[1] = text;
  write_file_atomically(path, pieces);
}

}  // namespace troupe
