#include "common/chat/json_text.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>

#include "common/base/error.h"
#include "common/base/utf8.h"
#include "common/chat/python_text.h"

namespace troupe {
namespace {

std::string escaped_unit(unsigned unit) {
  std::array<char, 8> buffer{};
  std::snprintf(buffer.data(), buffer.size(), "\\u%04x", unit & 0xFFFFU);
  return buffer.data();
}

std::string escaped(char32_t c, std::string_view bytes, bool ensure_ascii) {
  constexpr std::string_view kLetters = "\"\\\n\r\t\f\b";
  constexpr std::string_view kNames = "\"\\nrtfb";
  if (bytes.size() == 1) {
    if (const std::size_t at = kLetters.find(bytes[0]); at != std::string_view::npos) return std::string("\\") + kNames[at];
    if (c < 0x20) return escaped_unit(c);
  }
  if (bytes.size() == 1 || !ensure_ascii) return std::string(bytes);
  if (c < 0x10000) return escaped_unit(c);
  const char32_t offset = c - 0x10000;
  return escaped_unit(0xD800 + (offset >> 10)) + escaped_unit(0xDC00 + (offset & 0x3FF));
}

class JsonWriter {
 public:
  JsonWriter(const JsonStyle& style, Meter& meter) : style_(style), meter_(meter), out_(meter) {}

  void write(const Value& value) {
    meter_.spend(1);
    if (const std::string* text = value.text()) write_text(*text);
    else if (const ValueList* list = value.list()) write_list(*list);
    else if (const ValueDict* dict = value.dict()) write_dict(*dict);
    else out_ << simple(value);
  }

  std::string take() { return out_.take(); }

 private:
  static std::string simple(const Value& value) {
    if (value.is_none()) return "null";
    if (const bool* flag = value.as<bool>()) return *flag ? "true" : "false";
    if (const auto* integer = value.as<std::int64_t>()) return std::to_string(*integer);
    const double* number = value.as<double>();
    if (number == nullptr) throw ConfigError("tojson: expected a value that JSON can hold, found " + description_of(value));
    if (std::isnan(*number)) return "NaN";
    if (std::isinf(*number)) return *number < 0 ? "-Infinity" : "Infinity";
    return python_text::repr(*number);
  }

  void write_text(std::string_view text) {
    out_ << "\"";
    for (std::size_t i = 0; i < text.size();) {
      const CodePoint c = code_point_at(text, i);
      out_ << escaped(c.value, text.substr(i, c.bytes), style_.ensure_ascii);
      i += c.bytes;
    }
    out_ << "\"";
  }

  void begin_line() {
    if (!style_.indent) return;
    out_ << "\n";
    for (int i = 0; i < level_; ++i) out_ << *style_.indent;
  }

  template <class Items, class Write>
  void write_items(std::string_view open, const Items& items, std::string_view close, Write write_item) {
    out_ << open;
    ++level_;
    bool first = true;
    for (const auto& item : items) {
      if (!std::exchange(first, false)) out_ << style_.item_separator;
      begin_line();
      write_item(item);
    }
    --level_;
    if (!first) begin_line();
    out_ << close;
  }

  void write_list(const ValueList& list) {
    write_items("[", list.items, "]", [&](const Value& item) { write(item); });
  }

  void write_dict(const ValueDict& dict) {
    std::vector<const std::pair<std::string, Value>*> entries;
    for (const auto& entry : dict.entries) entries.push_back(&entry);
    if (style_.sort_keys) std::sort(entries.begin(), entries.end(), [](const auto* a, const auto* b) { return a->first < b->first; });
    write_items("{", entries, "}", [&](const auto* entry) {
      write_text(entry->first);
      out_ << style_.key_separator;
      write(entry->second);
    });
  }

  const JsonStyle& style_;
  Meter& meter_;
  MeteredText out_;
  int level_ = 0;
};

}  // namespace

std::string json_text(const Value& value, const JsonStyle& style, Meter& meter) {
  JsonWriter writer(style, meter);
  writer.write(value);
  return writer.take();
}

}  // namespace troupe
