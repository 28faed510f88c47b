#include "common/chat/parser.h"

#include <algorithm>
#include <initializer_list>

#include "common/base/error.h"
#include "common/chat/expression_parser.h"
#include "common/chat/token_stream.h"

namespace troupe {
namespace {

using TokenKind = TemplateToken::Kind;
using Kind = TemplateStatement::Kind;
using Words = std::initializer_list<std::string_view>;

class Parser {
 public:
  Parser(std::string_view source, const std::string& where) : tokens_(lex_template(source, where), where), expressions_(tokens_) {}

  TemplateBlock run() {
    TemplateBlock block = parse_until({});
    if (!tokens_.is(TokenKind::kEnd)) tokens_.fail_expecting("text or a tag");
    return block;
  }

 private:
  /// Statements up to the tag that begins with one of `ends`, whose word is then current; up to the end where there are none.
  TemplateBlock parse_until(Words ends) {
    const TokenStream::Nesting nesting(tokens_);
    const int line = tokens_.line_before();
    TemplateBlock block;
    while (!tokens_.is(TokenKind::kEnd)) {
      if (tokens_.is(TokenKind::kBlockBegin)) {
        tokens_.next();
        if (std::any_of(ends.begin(), ends.end(), [&](std::string_view end) { return tokens_.is_name(end); })) return block;
        block.push_back(parse_statement());
        tokens_.expect(TokenKind::kBlockEnd);
      } else {
        block.push_back(parse_output());
      }
    }
    if (ends.size() > 0) tokens_.fail("the block that begins here has no '" + std::string(*(ends.end() - 1)) + "'", line);
    return block;
  }

  TemplateStatement statement(Kind kind, int line) {
    TemplateStatement made;
    made.kind = kind;
    made.line = line;
    return made;
  }

  TemplateStatement parse_output() {
    if (tokens_.is(TokenKind::kText)) {
      TemplateStatement made = statement(Kind::kText, tokens_.current().line);
      made.text = tokens_.next().text;
      return made;
    }
    TemplateStatement made = statement(Kind::kPrint, tokens_.current().line);
    tokens_.expect(TokenKind::kPrintBegin);
    made.expression = expressions_.parse_tuple();
    tokens_.expect(TokenKind::kPrintEnd);
    return made;
  }

  TemplateStatement parse_statement() {
    const int line = tokens_.current().line;
    const std::string word = tokens_.expect_name();
    if (word == "if") return parse_if(line);
    if (word == "for") return parse_for(line);
    if (word == "set") return parse_set(line);
    if (word == "macro") return parse_macro(line);
    if (word == "generation") return parse_generation(line);
    if (word == "break" || word == "continue") {
      if (loops_ == 0) tokens_.fail("'" + word + "' stands outside a loop", line);
      return statement(word == "break" ? Kind::kBreak : Kind::kContinue, line);
    }
    if (word.starts_with("end") || word == "else" || word == "elif") tokens_.fail("'" + word + "' ends no block that is open", line);
    tokens_.fail("the statement '" + word + "' is not supported", line);
  }

  TemplateStatement parse_if(int line) {
    TemplateStatement made = statement(Kind::kIf, line);
    ExpressionPtr condition = expressions_.parse_tuple(false);
    while (true) {
      tokens_.expect(TokenKind::kBlockEnd);
      TemplateBlock body = condition ? parse_until({"elif", "else", "endif"}) : parse_until({"endif"});
      made.branches.push_back({std::move(condition), std::move(body)});
      if (tokens_.skip_name("endif")) return made;
      condition = nullptr;
      if (tokens_.skip_name("elif")) condition = expressions_.parse_tuple(false);
      else tokens_.expect_word("else");
    }
  }

  TemplateStatement parse_for(int line) {
    TemplateStatement made = statement(Kind::kFor, line);
    made.target = parse_target();
    tokens_.expect_word("in");
    made.expression = expressions_.parse_tuple(false);
    if (tokens_.skip_name("if")) made.condition = expressions_.parse();
    if (tokens_.is_name("recursive")) tokens_.fail("'recursive' loops are not supported", line);
    tokens_.expect(TokenKind::kBlockEnd);
    ++loops_;
    made.body = parse_until({"else", "endfor"});
    --loops_;
    if (tokens_.skip_name("else")) {
      tokens_.expect(TokenKind::kBlockEnd);
      made.otherwise = parse_until({"endfor"});
    }
    tokens_.expect_word("endfor");
    return made;
  }

  TemplateTarget parse_target() {
    TemplateTarget target;
    do {
      if (tokens_.is_name("in")) break;  // after the last comma
      target.parts.push_back(parse_single_target());
    } while (tokens_.skip_operator(",") && !tokens_.is_operator("="));
    if (target.parts.empty()) tokens_.fail_expecting("a name");
    return target.parts.size() == 1 ? std::move(target.parts.front()) : std::move(target);
  }

  TemplateTarget parse_single_target() {
    const TokenStream::Nesting nesting(tokens_);
    if (tokens_.skip_operator("(")) {
      TemplateTarget inside = parse_target();
      tokens_.expect_operator(")");
      return inside;
    }
    TemplateTarget target;
    target.name = tokens_.expect_name();
    for (const char* constant : {"true", "false", "none", "True", "False", "None"}) {
      if (target.name == constant) tokens_.fail("'" + target.name + "' cannot be assigned to");
    }
    if (tokens_.skip_operator(".")) target.attribute = tokens_.expect_name();
    return target;
  }

  TemplateStatement parse_set(int line) {
    TemplateStatement made = statement(Kind::kSet, line);
    made.target = parse_target();
    if (tokens_.skip_operator("=")) {
      made.expression = expressions_.parse_tuple();
      return made;
    }
    if (tokens_.is_operator("|")) tokens_.fail("a block 'set' through filters is not supported", line);
    tokens_.expect(TokenKind::kBlockEnd);
    made.kind = Kind::kSetBlock;
    made.body = parse_until({"endset"});
    tokens_.expect_word("endset");
    return made;
  }

  TemplateStatement parse_macro(int line) {
    TemplateStatement made = statement(Kind::kMacro, line);
    made.macro = std::make_unique<MacroDefinition>();
    made.macro->name = tokens_.expect_name();
    tokens_.expect_operator("(");
    while (!tokens_.skip_operator(")")) {
      auto& parameters = made.macro->parameters;
      if (!parameters.empty()) tokens_.expect_operator(",");
      MacroDefinition::Parameter parameter{tokens_.expect_name(), nullptr};
      if (tokens_.skip_operator("=")) parameter.standard = expressions_.parse();
      else if (!parameters.empty() && parameters.back().standard) tokens_.fail("a parameter without a default follows one with a default", line);
      parameters.push_back(std::move(parameter));
    }
    tokens_.expect(TokenKind::kBlockEnd);
    const int outer_loops = std::exchange(loops_, 0);
    made.macro->body = parse_until({"endmacro"});
    loops_ = outer_loops;
    tokens_.expect_word("endmacro");
    return made;
  }

  TemplateStatement parse_generation(int line) {
    TemplateStatement made = statement(Kind::kGeneration, line);
    tokens_.expect(TokenKind::kBlockEnd);
    const int outer_loops = std::exchange(loops_, 0);  // nothing leaves the block but through its end
    made.body = parse_until({"endgeneration"});
    loops_ = outer_loops;
    tokens_.expect_word("endgeneration");
    return made;
  }

  TokenStream tokens_;
  ExpressionParser expressions_;
  int loops_ = 0;  // around the statement, inside its macro
};

}  // namespace

TemplateBlock parse_template(std::string_view source, const std::string& where) { return Parser(source, where).run(); }

}  // namespace troupe
