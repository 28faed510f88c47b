#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "common/chat/lexer.h"

namespace troupe {

/// A template's tokens, read from the front.
class TokenStream {
 public:
  using Kind = TemplateToken::Kind;

  TokenStream(std::vector<TemplateToken> tokens, std::string where) : tokens_(std::move(tokens)), where_(std::move(where)) {}

  const TemplateToken& current() const { return tokens_[at_]; }
  /// The current token, which is left behind; the last one stays.
  const TemplateToken& next() { return tokens_[at_ + 1 < tokens_.size() ? at_++ : at_]; }
  /// The line of the token before the current one.
  int line_before() const { return tokens_[at_ > 0 ? at_ - 1 : 0].line; }
  bool is(Kind kind) const { return current().kind == kind; }
  bool is_name(std::string_view text) const { return is(Kind::kName) && current().text == text; }
  bool is_operator(std::string_view text) const { return is(Kind::kOperator) && current().text == text; }
  /// The token after the current one.
  const TemplateToken& peek() const { return tokens_[at_ + 1 < tokens_.size() ? at_ + 1 : at_]; }
  bool skip_name(std::string_view text) { return is_name(text) && (next(), true); }
  bool skip_operator(std::string_view text) { return is_operator(text) && (next(), true); }

  /// The text of the current token, which is left behind. @throws ConfigError where it is another.
  std::string expect_name();
  void expect_word(std::string_view text);
  void expect_operator(std::string_view text);
  void expect(Kind kind);

  /// @throws ConfigError "WHERE:LINE: what"; of the current line where none is given.
  [[noreturn]] void fail(const std::string& what, int line = 0) const;
  /// @throws ConfigError saying what stands there instead.
  [[noreturn]] void fail_expecting(const std::string& expected) const;

  /// Held by what the parser calls inside itself. @throws ConfigError where that is too deep.
  class Nesting {
   public:
    explicit Nesting(TokenStream& stream);
    ~Nesting() { --stream_.nesting_; }
    Nesting(const Nesting&) = delete;
    Nesting& operator=(const Nesting&) = delete;

   private:
    TokenStream& stream_;
  };

 private:
  std::vector<TemplateToken> tokens_;
  std::string where_;
  std::size_t at_ = 0;
  int nesting_ = 0;
};

}  // namespace troupe
