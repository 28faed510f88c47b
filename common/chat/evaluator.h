#pragma once

#include <cstddef>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "common/chat/syntax.h"

namespace troupe {

/// Bytes [begin, end) of a text.
struct ByteRange {
  std::size_t begin = 0;
  std::size_t end = 0;
  bool operator==(const ByteRange&) const = default;
};

/// A conversation as text, and what of it the assistant says.
struct RenderedChat {
  std::string text;
  std::vector<ByteRange> assistant;  // in order, apart from one another
  bool operator==(const RenderedChat&) const = default;
};

/// The names and values that a block of a template sees: its own, and those around it.
struct TemplateScope {
  std::shared_ptr<TemplateScope> parent;  // shared with the macros defined there
  std::map<std::string, Value> values;
};

/// Renders one template once.
class Evaluator {
 public:
  /// `date` (YYYY-MM-DD) is strftime_now's; empty: there is no such function.
  Evaluator(const TemplateLimits& limits, std::string date) : limits_(limits), date_(std::move(date)), meter_(limits.steps) {}

  /// The text, and the ranges of its {% generation %} blocks, but those inside macros and `set` blocks, whose place is not known.
  /// @throws ConfigError saying what cannot be done; line() is then the line of the template.
  RenderedChat run(const TemplateBlock& block, std::map<std::string, Value> variables);

  int line() const { return line_; }

 private:
  class Depth;
  class Namespace;
  class Loop;
  class Macro;
  enum class Flow { kNext, kBreak, kContinue };
  using ScopePtr = std::shared_ptr<TemplateScope>;

  Flow execute(const TemplateBlock& block);
  Flow execute(const TemplateStatement& statement);
  Flow execute_if(const TemplateStatement& statement);
  void execute_for(const TemplateStatement& statement);
  void execute_generation(const TemplateStatement& statement);
  std::vector<Value> loop_items(const TemplateStatement& statement);
  /// What `block` writes inside `scope`.
  std::string captured(const TemplateBlock& block, ScopePtr scope);
  void assign(const TemplateTarget& target, const Value& value);
  void write(std::string_view text);

  Value evaluate(const TemplateExpression& expression);
  Value evaluate_kind(const TemplateExpression& expression);
  std::vector<Value> evaluate_parts(const TemplateExpression& expression);
  Value evaluate_slice(const TemplateExpression& expression);
  Value evaluate_dict(const TemplateExpression& expression);
  Value evaluate_compare(const TemplateExpression& expression);
  Value evaluate_conditional(const TemplateExpression& expression);
  Value evaluate_concat(const TemplateExpression& expression);
  CallArguments arguments_of(const TemplateExpression& expression);
  Value call(const Value& callee, const CallArguments& arguments);
  Value call_macro(const Macro& macro, const CallArguments& arguments);
  Value make_namespace(const CallArguments& arguments);
  Value lookup(const std::string& name) const;
  ScopePtr inner_scope() const { return std::make_shared<TemplateScope>(TemplateScope{scope_, {}}); }
  template <class T, class... Arguments>
  T* make_object(Arguments&&... arguments);

  const TemplateLimits limits_;
  const std::string date_;
  Meter meter_;
  int line_ = 1;
  int depth_ = 0;
  int captures_ = 0;
  std::string* out_ = nullptr;
  ScopePtr scope_;
  std::vector<std::unique_ptr<TemplateObject>> objects_;  // namespaces, loops and macros: values borrow them
  std::vector<ByteRange> ranges_;
};

}  // namespace troupe
