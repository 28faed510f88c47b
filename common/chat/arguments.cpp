#include "common/chat/arguments.h"

#include <algorithm>

#include "common/base/error.h"

namespace troupe {

BoundArguments::BoundArguments(const CallArguments& given, std::string what, std::initializer_list<std::string_view> parameters)
    : what_(std::move(what)), parameters_(parameters), values_(parameters.size(), nullptr) {
  if (given.positional.size() > parameters_.size()) {
    throw ConfigError(what_ + ": expected at most " + std::to_string(parameters_.size()) + " arguments, found " +
                      std::to_string(given.positional.size()));
  }
  for (std::size_t i = 0; i < given.positional.size(); ++i) values_[i] = &given.positional[i];
  for (const auto& [name, value] : given.named) {
    const auto found = std::find(parameters_.begin(), parameters_.end(), name);
    if (found == parameters_.end()) throw ConfigError(what_ + ": the argument '" + name + "' is not supported");
    const Value*& place = values_[static_cast<std::size_t>(found - parameters_.begin())];
    if (place != nullptr) throw ConfigError(what_ + ": the argument '" + name + "' is given twice");
    place = &value;
  }
}

const Value& BoundArguments::value(std::size_t index) const {
  if (values_[index] == nullptr) throw ConfigError(what_ + ": expected the argument '" + std::string(parameters_[index]) + "', found none");
  return *values_[index];
}

const std::string& BoundArguments::text(std::size_t index) const {
  const std::string* text = value(index).text();
  if (text == nullptr) throw ConfigError(what_ + ": '" + std::string(parameters_[index]) + "': expected a string, found " + description_of(value(index)));
  return *text;
}

std::int64_t BoundArguments::integer(std::size_t index) const {
  std::int64_t room = 0;
  const std::int64_t* integer = integer_of(value(index), room);
  if (integer == nullptr) throw ConfigError(what_ + ": '" + std::string(parameters_[index]) + "': expected an integer, found " + description_of(value(index)));
  return *integer;
}

CallArguments without_first(const CallArguments& arguments, std::size_t count) {
  CallArguments rest = arguments;
  rest.positional.erase(rest.positional.begin(), rest.positional.begin() + static_cast<std::ptrdiff_t>(std::min(count, rest.positional.size())));
  return rest;
}

}  // namespace troupe
