#pragma once

#include <cstdint>
#include <string>
#include <type_traits>

namespace troupe::testing {

/// The bytes of a GGUF file, written by hand.
struct GgufBytes {
  std::string bytes = "GGUF";

  template <typename T>
    requires std::is_arithmetic_v<T>
  GgufBytes& add(T value) {
    bytes.append(reinterpret_cast<const char*>(&value), sizeof(value));
    return *this;
  }
  GgufBytes& add(const std::string& text) {
    add(static_cast<std::uint64_t>(text.size()));
    bytes += text;
    return *this;
  }
  GgufBytes& header(std::uint64_t tensors, std::uint64_t keys, std::uint32_t version = 3) { return add(version).add(tensors).add(keys); }
  /// A key of a type of the format's list: 4 is uint32, 6 float32, 8 text, 9 a list.
  GgufBytes& key(const std::string& name, std::uint32_t type) { return add(name).add(type); }
  /// A tensor of `rows` x `columns`, type 0 is F32.
  GgufBytes& tensor(const std::string& name, std::int64_t rows, std::int64_t columns, std::uint32_t type, std::uint64_t offset) {
    return add(name).add(std::uint32_t{2}).add(columns).add(rows).add(type).add(offset);
  }
  /// Zeros up to a multiple of `alignment`, then `count` bytes of data.
  GgufBytes& data(std::size_t count, std::size_t alignment = 32) {
    bytes.resize((bytes.size() + alignment - 1) / alignment * alignment + count, '\0');
    return *this;
  }
};

}  // namespace troupe::testing
