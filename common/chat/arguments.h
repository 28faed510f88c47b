#pragma once

#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

#include "common/chat/value.h"

namespace troupe {

/// The arguments of a call by the names of its parameters. Borrows them.
class BoundArguments {
 public:
  /// @throws ConfigError naming `what` where there are too many, one twice, or one of another name.
  BoundArguments(const CallArguments& given, std::string what, std::initializer_list<std::string_view> parameters);

  /// The argument of parameter number `index`; null where none was given.
  const Value* operator[](std::size_t index) const { return values_[index]; }
  /// The same. @throws ConfigError where it is missing or of another kind.
  const Value& value(std::size_t index) const;
  const std::string& text(std::size_t index) const;
  std::int64_t integer(std::size_t index) const;
  /// The same, or `otherwise` where none was given.
  std::int64_t integer_or(std::size_t index, std::int64_t otherwise) const { return values_[index] ? integer(index) : otherwise; }
  bool truth_or(std::size_t index, bool otherwise) const { return values_[index] ? truth_of(*values_[index]) : otherwise; }

 private:
  std::string what_;
  std::vector<std::string_view> parameters_;
  std::vector<const Value*> values_;
};

/// `arguments` without the first `count` positional ones.
CallArguments without_first(const CallArguments& arguments, std::size_t count);

}  // namespace troupe
