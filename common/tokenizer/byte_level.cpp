#include "common/tokenizer/byte_level.h"

#include <array>
#include <cstddef>
#include <cstdint>

#include "common/base/utf8.h"

namespace troupe {
namespace {

constexpr bool stands_for_itself(unsigned byte) {
  return (byte >= '!' && byte <= '~') || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
}

/// Characters 0x100, 0x101 … are given in order to the bytes that do not stand for themselves.
constexpr std::array<char32_t, 256> kCharacterOfByte = [] {
  std::array<char32_t, 256> table{};
  char32_t next = 0x100;
  for (unsigned byte = 0; byte < 256; ++byte) table[byte] = stands_for_itself(byte) ? byte : next++;
  return table;
}();

constexpr char32_t kAlphabetEnd = 0x100 + 68;  // 68 bytes do not stand for themselves

constexpr std::array<std::int16_t, kAlphabetEnd> kByteOfCharacter = [] {
  std::array<std::int16_t, kAlphabetEnd> table{};
  for (auto& byte : table) byte = -1;
  for (unsigned byte = 0; byte < 256; ++byte) table[kCharacterOfByte[byte]] = static_cast<std::int16_t>(byte);
  return table;
}();

}  // namespace

std::string to_byte_level(std::string_view text) {
  std::string characters;
  characters.reserve(text.size() + text.size() / 2);
  for (const char c : text) append_utf8(characters, kCharacterOfByte[static_cast<std::uint8_t>(c)]);
  return characters;
}

void append_byte_level(std::string& bytes, std::string_view token) {
  const std::size_t before = bytes.size();
  for (std::size_t i = 0; i < token.size();) {
    const CodePoint character = code_point_at(token, i);
    const int byte = character.value < kAlphabetEnd ? kByteOfCharacter[character.value] : -1;
    if (byte < 0) {
      bytes.resize(before);
      bytes.append(token);
      return;
    }
    bytes.push_back(static_cast<char>(static_cast<std::uint8_t>(byte)));
    i += character.bytes;
  }
}

}  // namespace troupe
