#include "common/base/strict_json.h"

#include <limits>
#include <utility>
#include <vector>

#include "common/base/files.h"

namespace troupe {
namespace {

using nlohmann::json;

/// Builds the value from the parser's events; the only reason to do it here is to see each key before it is stored.
class StrictBuilder : public nlohmann::json_sax<json> {
 public:
  explicit StrictBuilder(const std::string& where) : where_(where) {}
  json take() { return std::move(root_); }

  bool null() override { return put(nullptr); }
  bool boolean(bool value) override { return put(value); }
  bool number_integer(number_integer_t value) override { return put(value); }
  bool number_unsigned(number_unsigned_t value) override { return put(value); }
  bool number_float(number_float_t value, const string_t&) override { return put(value); }
  bool string(string_t& value) override { return put(std::move(value)); }
  bool binary(binary_t&) override { throw ConfigError(where_ + ": binary value in JSON text"); }

  bool start_object(std::size_t) override { return open(json::object()); }
  bool start_array(std::size_t) override { return open(json::array()); }
  bool end_object() override { return close(); }
  bool end_array() override { return close(); }

  bool key(string_t& name) override {
    auto& object = *stack_.back();
    if (object.contains(name)) throw ConfigError(where_ + ": key \"" + name + "\" stands twice in one object");
    slot_ = &object[name];
    return true;
  }

  bool parse_error(std::size_t, const std::string&, const nlohmann::detail::exception& error) override {
    const std::string text = error.what();  // "[json.exception.parse_error.101] parse error at line 1, column 2: …"
    const std::size_t prefix = text.find("] ");
    throw ConfigError(where_ + ": not valid JSON: " + (prefix == std::string::npos ? text : text.substr(prefix + 2)));
  }

 private:
  json* store(json value) {
    if (stack_.empty()) {
      root_ = std::move(value);
      return &root_;
    }
    if (stack_.back()->is_array()) {
      stack_.back()->push_back(std::move(value));
      return &stack_.back()->back();
    }
    *slot_ = std::move(value);
    return slot_;
  }
  bool put(json value) {
    store(std::move(value));
    return true;
  }
  bool open(json value) {
    if (stack_.size() == static_cast<std::size_t>(kMaxJsonDepth)) {
      throw ConfigError(where_ + ": JSON nested deeper than " + std::to_string(kMaxJsonDepth) + " levels");
    }
    stack_.push_back(store(std::move(value)));
    return true;
  }
  bool close() {
    stack_.pop_back();
    return true;
  }

  const std::string& where_;
  json root_;
  std::vector<json*> stack_;  // the open containers; a container does not grow while one inside it is open
  json* slot_ = nullptr;      // where the value of the last key goes
};

[[noreturn]] void wrong_type(const json& value, const std::string& key, const std::string& where,
                             const char* expected) {
  std::string found = value.dump(-1, ' ', false, json::error_handler_t::replace);
  if (found.size() > 60) found = found.substr(0, 57) + "...";
  throw ConfigError(where + ": key \"" + key + "\": expected " + expected + ", found " + found);
}

}  // namespace

json parse_json(std::string_view text, const std::string& where) {
  StrictBuilder builder(where);
  json::sax_parse(text.begin(), text.end(), &builder);
  return builder.take();
}

json read_json_file(const std::string& path) { return parse_json(read_file(path), path); }

const json& json_member(const json& object, const std::string& key, const std::string& where) {
  if (!object.is_object())
    throw ConfigError(where + ": expected an object with key \"" + key + "\", found " + object.type_name());
  const auto found = object.find(key);
  if (found == object.end()) throw ConfigError(where + ": key \"" + key + "\" is missing");
  return *found;
}

template <>
bool json_as<bool>(const json& value, const std::string& key, const std::string& where) {
  if (!value.is_boolean()) wrong_type(value, key, where, "true or false");
  return value.get<bool>();
}

template <>
std::int64_t json_as<std::int64_t>(const json& value, const std::string& key, const std::string& where) {
  const bool too_large = value.is_number_unsigned() &&
                         value.get<std::uint64_t>() > std::uint64_t{std::numeric_limits<std::int64_t>::max()};
  if (!value.is_number_integer() || too_large) wrong_type(value, key, where, "an integer");
  return value.get<std::int64_t>();
}

template <>
double json_as<double>(const json& value, const std::string& key, const std::string& where) {
  if (!value.is_number()) wrong_type(value, key, where, "a number");
  return value.get<double>();
}

template <>
std::string json_as<std::string>(const json& value, const std::string& key, const std::string& where) {
  if (!value.is_string()) wrong_type(value, key, where, "a string");
  return value.get<std::string>();
}

}  // namespace troupe
