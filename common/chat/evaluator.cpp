#include "common/chat/evaluator.h"

#include <algorithm>

#include "common/base/error.h"
#include "common/chat/filters.h"
#include "common/chat/functions.h"
#include "common/chat/methods.h"
#include "common/chat/operators.h"
#include "common/chat/tests.h"

namespace troupe {
namespace {

using Expression = TemplateExpression::Kind;
using Statement = TemplateStatement::Kind;

constexpr std::size_t kObjectCost = 64;

}  // namespace

/// One level of statements, expressions or macros.
class Evaluator::Depth {
 public:
  explicit Depth(Evaluator& evaluator) : evaluator_(evaluator) {
    if (evaluator.depth_ >= evaluator.limits_.depth) {
      throw ConfigError("blocks, expressions and macros call one another more than " + std::to_string(evaluator.limits_.depth) + " levels deep");
    }
    ++evaluator.depth_;
  }
  ~Depth() { --evaluator_.depth_; }
  Depth(const Depth&) = delete;
  Depth& operator=(const Depth&) = delete;

 private:
  Evaluator& evaluator_;
};

class Evaluator::Namespace : public TemplateObject {
 public:
  std::string kind() const override { return "namespace"; }
  Value attribute(const std::string& name) const override {
    const auto found = values.find(name);
    return found == values.end() ? Value::undefined("the namespace has no '" + name + "'") : found->second;
  }
  std::map<std::string, Value> values;
};

/// `loop` in the body of a for.
class Evaluator::Loop : public TemplateObject {
 public:
  explicit Loop(std::vector<Value> all) : items(std::move(all)) {}
  std::string kind() const override { return "loop"; }
  Value attribute(const std::string& name) const override {
    const auto size = static_cast<std::int64_t>(items.size());
    const auto at = static_cast<std::int64_t>(index);
    if (name == "index") return at + 1;
    if (name == "index0") return at;
    if (name == "revindex") return size - at;
    if (name == "revindex0") return size - at - 1;
    if (name == "first") return at == 0;
    if (name == "last") return at + 1 == size;
    if (name == "length") return size;
    if (name == "depth") return std::int64_t{1};  // it counts recursive loops alone
    if (name == "depth0") return std::int64_t{0};
    if (name == "previtem") return at > 0 ? items[index - 1] : Value::undefined("the loop has no previous item");
    if (name == "nextitem") return at + 1 < size ? items[index + 1] : Value::undefined("the loop has no next item");
    if (name == "cycle") return Value(Builtin{"cycle", Value(const_cast<Loop*>(this))});
    throw ConfigError("'loop." + name + "' is not supported");
  }
  std::vector<Value> items;
  std::size_t index = 0;
};

class Evaluator::Macro : public TemplateObject {
 public:
  Macro(const MacroDefinition& what, ScopePtr where) : definition(what), scope(std::move(where)) {}
  std::string kind() const override { return "macro"; }
  Value attribute(const std::string& name) const override {
    if (name == "name") return definition.name;
    throw ConfigError("'" + name + "' of a macro is not supported");
  }
  const MacroDefinition& definition;
  const ScopePtr scope;
};

template <class T, class... Arguments>
T* Evaluator::make_object(Arguments&&... arguments) {
  meter_.spend(kObjectCost);
  auto object = std::make_unique<T>(std::forward<Arguments>(arguments)...);
  T* const borrowed = object.get();
  objects_.push_back(std::move(object));
  return borrowed;
}

RenderedChat Evaluator::run(const TemplateBlock& block, std::map<std::string, Value> variables) {
  std::string text;
  out_ = &text;
  scope_ = std::make_shared<TemplateScope>(TemplateScope{nullptr, std::move(variables)});
  execute(block);
  return {std::move(text), std::move(ranges_)};
}

// --- Statements ---

void Evaluator::write(std::string_view text) {
  meter_.spend(text.size());
  if (out_->size() + text.size() > limits_.output_bytes) {
    throw ConfigError("the text is longer than the allowed " + std::to_string(limits_.output_bytes) + " bytes");
  }
  out_->append(text);
}

Evaluator::Flow Evaluator::execute(const TemplateBlock& block) {
  for (const TemplateStatement& statement : block) {
    const Flow flow = execute(statement);
    if (flow != Flow::kNext) return flow;
  }
  return Flow::kNext;
}

Evaluator::Flow Evaluator::execute(const TemplateStatement& statement) {
  const Depth depth(*this);
  meter_.spend(1);
  line_ = statement.line;
  switch (statement.kind) {
    case Statement::kText: write(statement.text); break;
    case Statement::kPrint: write(str_of(evaluate(*statement.expression), meter_)); break;
    case Statement::kIf: return execute_if(statement);
    case Statement::kFor: execute_for(statement); break;
    case Statement::kSet: assign(statement.target, evaluate(*statement.expression)); break;
    case Statement::kSetBlock: assign(statement.target, captured(statement.body, inner_scope())); break;
    case Statement::kMacro: scope_->values[statement.macro->name] = Value(make_object<Macro>(*statement.macro, scope_)); break;
    case Statement::kGeneration: execute_generation(statement); break;
    case Statement::kBreak: return Flow::kBreak;
    case Statement::kContinue: return Flow::kContinue;
  }
  return Flow::kNext;
}

Evaluator::Flow Evaluator::execute_if(const TemplateStatement& statement) {
  for (const TemplateBranch& branch : statement.branches) {
    if (!branch.condition || truth_of(evaluate(*branch.condition))) return execute(branch.body);
  }
  return Flow::kNext;
}

/// The items that the loop's condition lets through.
std::vector<Value> Evaluator::loop_items(const TemplateStatement& statement) {
  std::vector<Value> items = items_of(evaluate(*statement.expression), meter_);
  if (!statement.condition) return items;
  const ScopePtr outer = scope_;
  std::vector<Value> kept;
  for (Value& item : items) {
    scope_ = std::make_shared<TemplateScope>(TemplateScope{outer, {}});
    assign(statement.target, item);
    if (truth_of(evaluate(*statement.condition))) kept.push_back(std::move(item));
  }
  scope_ = outer;
  return kept;
}

void Evaluator::execute_for(const TemplateStatement& statement) {
  const ScopePtr outer = scope_;
  Loop* const loop = make_object<Loop>(loop_items(statement));
  bool any_round_ended = false;  // Jinja2's else is for when no round came to its end, by `break` or `continue` too
  for (loop->index = 0; loop->index < loop->items.size(); ++loop->index) {
    meter_.spend(1);
    scope_ = std::make_shared<TemplateScope>(TemplateScope{outer, {}});
    scope_->values["loop"] = Value(loop);
    assign(statement.target, loop->items[loop->index]);
    const Flow flow = execute(statement.body);
    if (flow == Flow::kBreak) break;
    any_round_ended = any_round_ended || flow == Flow::kNext;
  }
  if (!any_round_ended) {
    scope_ = std::make_shared<TemplateScope>(TemplateScope{outer, {}});
    execute(statement.otherwise);
  }
  scope_ = outer;
}

void Evaluator::execute_generation(const TemplateStatement& statement) {
  const std::size_t begin = out_->size();
  const ScopePtr outer = scope_;
  scope_ = inner_scope();
  execute(statement.body);
  scope_ = outer;
  const bool is_known = captures_ == 0 && out_->size() > begin && (ranges_.empty() || ranges_.back().end <= begin);
  if (is_known) ranges_.push_back({begin, out_->size()});
}

std::string Evaluator::captured(const TemplateBlock& block, ScopePtr scope) {
  std::string text;
  std::string* const outer_out = std::exchange(out_, &text);
  const ScopePtr outer_scope = std::exchange(scope_, std::move(scope));
  ++captures_;
  execute(block);
  --captures_;
  scope_ = outer_scope;
  out_ = outer_out;
  return text;
}

void Evaluator::assign(const TemplateTarget& target, const Value& value) {
  if (!target.parts.empty()) {
    const std::vector<Value> items = items_of(value, meter_);
    if (items.size() != target.parts.size()) {
      throw ConfigError("expected " + std::to_string(target.parts.size()) + " items to unpack, found " + std::to_string(items.size()));
    }
    for (std::size_t i = 0; i < items.size(); ++i) assign(target.parts[i], items[i]);
  } else if (target.attribute.empty()) {
    scope_->values[target.name] = value;
  } else {
    auto* const object = dynamic_cast<Namespace*>(lookup(target.name).object());
    if (object == nullptr) throw ConfigError("'" + target.name + "." + target.attribute + "' cannot be set: '" + target.name + "' is no namespace");
    object->values[target.attribute] = value;
  }
}

// --- Expressions ---

Value Evaluator::lookup(const std::string& name) const {
  for (const TemplateScope* scope = scope_.get(); scope != nullptr; scope = scope->parent.get()) {
    const auto found = scope->values.find(name);
    if (found != scope->values.end()) return found->second;
  }
  if (name == "namespace" || is_function(name, date_)) return Value(Builtin{name, Value()});
  return Value::undefined("'" + name + "' is undefined");
}

Value Evaluator::evaluate(const TemplateExpression& expression) {
  const Depth depth(*this);
  meter_.spend(1);
  line_ = expression.line;
  return evaluate_kind(expression);
}

Value Evaluator::evaluate_kind(const TemplateExpression& expression) {
  const auto part = [&](std::size_t i) { return evaluate(*expression.parts[i]); };
  const auto here = [&] { line_ = expression.line; };  // the operation's own line again, after its parts'
  switch (expression.kind) {
    case Expression::kConstant: return expression.constant;
    case Expression::kName: return lookup(expression.text);
    case Expression::kList: return Value::list(evaluate_parts(expression));
    case Expression::kTuple: return Value::list(evaluate_parts(expression), true);
    case Expression::kDict: return evaluate_dict(expression);
    case Expression::kSlice: return evaluate_slice(expression);
    case Expression::kCompare: return evaluate_compare(expression);
    case Expression::kConditional: return evaluate_conditional(expression);
    case Expression::kConcat: return evaluate_concat(expression);
    case Expression::kNot: return !truth_of(part(0));
    case Expression::kAnd: {
      Value left = part(0);
      return truth_of(left) ? part(1) : left;
    }
    case Expression::kOr: {
      Value left = part(0);
      return truth_of(left) ? left : part(1);
    }
    default: break;
  }
  const Value object = part(0);
  if (expression.kind == Expression::kCall || expression.kind == Expression::kFilter || expression.kind == Expression::kTest) {
    const CallArguments arguments = arguments_of(expression);
    here();
    if (expression.kind == Expression::kCall) return call(object, arguments);
    if (expression.kind == Expression::kFilter) return apply_filter(expression.text, object, arguments, meter_);
    return apply_test(expression.text, object, arguments, meter_);
  }
  if (expression.kind == Expression::kAttribute) return attribute_of(object, expression.text, meter_);
  if (expression.kind == Expression::kSign) return with_sign(expression.text, object);
  const Value other = part(1);
  here();
  return expression.kind == Expression::kItem ? item_of(object, other, meter_) : arithmetic(expression.text, object, other, meter_);
}

std::vector<Value> Evaluator::evaluate_parts(const TemplateExpression& expression) {
  std::vector<Value> values;
  for (const ExpressionPtr& part : expression.parts) values.push_back(evaluate(*part));
  return values;
}

Value Evaluator::evaluate_dict(const TemplateExpression& expression) {
  std::vector<std::pair<std::string, Value>> entries;
  for (std::size_t i = 0; i < expression.parts.size(); i += 2) {
    const Value key = evaluate(*expression.parts[i]);
    if (key.text() == nullptr) throw ConfigError("a dictionary's key: expected a string, found " + description_of(key));
    meter_.spend(entries.size());
    set_entry(entries, *key.text(), evaluate(*expression.parts[i + 1]));
  }
  return Value::dict(std::move(entries));
}

Value Evaluator::evaluate_slice(const TemplateExpression& expression) {
  const Value object = evaluate(*expression.parts[0]);
  Value bounds[3];
  const Value* given[3] = {nullptr, nullptr, nullptr};
  for (std::size_t i = 0; i < 3; ++i) {
    if (!expression.parts[i + 1]) continue;
    bounds[i] = evaluate(*expression.parts[i + 1]);
    given[i] = &bounds[i];
  }
  line_ = expression.line;
  return slice_of(object, given[0], given[1], given[2], meter_);
}

Value Evaluator::evaluate_compare(const TemplateExpression& expression) {
  Value left = evaluate(*expression.parts[0]);
  for (std::size_t i = 0; i < expression.names.size(); ++i) {
    Value right = evaluate(*expression.parts[i + 1]);
    line_ = expression.line;
    if (!compare(expression.names[i], left, right, meter_)) return false;
    left = std::move(right);
  }
  return true;
}

Value Evaluator::evaluate_conditional(const TemplateExpression& expression) {
  if (truth_of(evaluate(*expression.parts[0]))) return evaluate(*expression.parts[1]);
  if (expression.parts.size() > 2) return evaluate(*expression.parts[2]);
  return Value::undefined("the inline if has no else, and its condition does not hold");
}

Value Evaluator::evaluate_concat(const TemplateExpression& expression) {
  MeteredText text(meter_);
  for (const ExpressionPtr& part : expression.parts) text << str_of(evaluate(*part), meter_);
  return text.take();
}

CallArguments Evaluator::arguments_of(const TemplateExpression& expression) {
  CallArguments arguments;
  const std::size_t first_named = expression.parts.size() - expression.names.size();
  for (std::size_t i = 1; i < expression.parts.size(); ++i) {
    Value value = evaluate(*expression.parts[i]);
    if (i < first_named) arguments.positional.push_back(std::move(value));
    else arguments.named.emplace_back(expression.names[i - first_named], std::move(value));
  }
  return arguments;
}

Value Evaluator::call(const Value& callee, const CallArguments& arguments) {
  if (const auto* macro = dynamic_cast<const Macro*>(callee.object())) return call_macro(*macro, arguments);
  const Builtin* const builtin = callee.builtin();
  if (builtin == nullptr) throw ConfigError("expected a function to call, found " + description_of(callee));
  if (const auto* loop = dynamic_cast<const Loop*>(builtin->self.object())) {
    if (arguments.positional.empty()) throw ConfigError("loop.cycle(): expected values, found none");
    return arguments.positional[loop->index % arguments.positional.size()];
  }
  if (!builtin->self.is_undefined()) return call_method(builtin->self, builtin->name, arguments, meter_);
  return builtin->name == "namespace" ? make_namespace(arguments) : call_function(builtin->name, arguments, date_, meter_);
}

Value Evaluator::make_namespace(const CallArguments& arguments) {
  const Value initial = call_function("dict", arguments, date_, meter_);
  auto* const made = make_object<Namespace>();
  for (const auto& [name, value] : initial.dict()->entries) made->values[name] = value;
  return Value(made);
}

Value Evaluator::call_macro(const Macro& macro, const CallArguments& arguments) {
  const auto& parameters = macro.definition.parameters;
  const std::string what = macro.definition.name + "()";
  if (arguments.positional.size() > parameters.size()) {
    throw ConfigError(what + ": expected at most " + std::to_string(parameters.size()) + " arguments, found " + std::to_string(arguments.positional.size()));
  }
  const ScopePtr scope = std::make_shared<TemplateScope>(TemplateScope{macro.scope, {}});
  for (std::size_t i = 0; i < arguments.positional.size(); ++i) scope->values[parameters[i].name] = arguments.positional[i];
  for (const auto& [name, value] : arguments.named) {
    const bool is_known = std::any_of(parameters.begin(), parameters.end(),
                                      [&wanted = name](const auto& parameter) { return parameter.name == wanted; });
    if (!is_known) throw ConfigError(what + ": there is no parameter '" + name + "'");
    if (!scope->values.emplace(name, value).second) throw ConfigError(what + ": the argument '" + name + "' is given twice");
  }
  const ScopePtr caller = std::exchange(scope_, scope);
  for (const auto& parameter : parameters) {
    if (scope->values.contains(parameter.name)) continue;
    scope->values[parameter.name] = parameter.standard ? evaluate(*parameter.standard) : Value::undefined("the parameter '" + parameter.name + "' was not provided");
  }
  scope_ = caller;
  return captured(macro.definition.body, scope);
}

}  // namespace troupe
