#pragma once

#include <memory>
#include <string>
#include <vector>

#include "common/chat/value.h"

// A chat template as the parser leaves it.

namespace troupe {

struct TemplateExpression;
using ExpressionPtr = std::unique_ptr<TemplateExpression>;

/// A missing bound of a slice is null; nothing else is.
struct TemplateExpression {
  enum class Kind {
    kConstant,     // constant
    kName,         // text
    kList,         // parts
    kTuple,        // parts
    kDict,         // parts: key, value, key, value …
    kAttribute,    // parts[0].text
    kItem,         // parts[0][parts[1]]
    kSlice,        // parts[0][parts[1]:parts[2]:parts[3]]
    kCall,         // parts[0](parts[1] …)
    kFilter,       // parts[0] | text(parts[1] …)
    kTest,         // parts[0] is text(parts[1] …)
    kNot,          // not parts[0]
    kSign,         // text parts[0], text + or -
    kArithmetic,   // parts[0] text parts[1]
    kCompare,      // parts[0] names[0] parts[1] names[1] parts[2] …; each name an operator, "in" or "not in"
    kAnd,          // parts[0] and parts[1]
    kOr,           // parts[0] or parts[1]
    kConcat,       // parts[0] ~ parts[1] ~ …
    kConditional,  // parts[1] if parts[0] else parts[2], which may be left out
  };
  Kind kind = Kind::kConstant;
  int line = 1;
  std::string text;
  Value constant;
  std::vector<ExpressionPtr> parts;
  std::vector<std::string> names;  // of calls, filters and tests: the keywords of the last parts
  int depth = 1;                   // levels of expressions, this one included
};

/// What is assigned to: a name, an attribute of a namespace, or several targets that a sequence is unpacked to.
struct TemplateTarget {
  std::string name;
  std::string attribute;
  std::vector<TemplateTarget> parts;
};

struct TemplateStatement;
using TemplateBlock = std::vector<TemplateStatement>;

struct TemplateBranch {
  ExpressionPtr condition;  // null: else
  TemplateBlock body;
};

struct MacroDefinition {
  struct Parameter {
    std::string name;
    ExpressionPtr standard;  // null: none
  };
  std::string name;
  std::vector<Parameter> parameters;
  TemplateBlock body;
};

struct TemplateStatement {
  enum class Kind {
    kText,        // text
    kPrint,       // expression
    kIf,          // branches
    kFor,         // target, expression, condition (may be null), body, otherwise
    kSet,         // target, expression
    kSetBlock,    // target, body
    kMacro,       // macro
    kGeneration,  // body
    kBreak,
    kContinue,
  };
  Kind kind = Kind::kText;
  int line = 1;
  std::string text;
  ExpressionPtr expression;
  ExpressionPtr condition;
  TemplateTarget target;
  std::vector<TemplateBranch> branches;
  TemplateBlock body;
  TemplateBlock otherwise;
  std::unique_ptr<MacroDefinition> macro;
};

}  // namespace troupe
