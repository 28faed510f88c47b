#include "common/transport/channel.h"

#include <string_view>

namespace troupe {

std::string printable(const PeerId& peer) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string text;
  for (const char c : peer) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte >= 0x20 && byte < 0x7f) {
      text += c;
    } else {
      text += "\\x";
      text += kDigits[byte >> 4];
      text += kDigits[byte & 15];
    }
  }
  return text;
}

}  // namespace troupe
