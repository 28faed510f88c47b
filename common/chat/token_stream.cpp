#include "common/chat/token_stream.h"

#include "common/base/error.h"

namespace troupe {
namespace {

constexpr int kMaxNesting = 100;

std::string shown(const TemplateToken& token) {
  using Kind = TemplateToken::Kind;
  switch (token.kind) {
    case Kind::kText: return "text";
    case Kind::kPrintBegin: return "{{";
    case Kind::kPrintEnd: return "}}";
    case Kind::kBlockBegin: return "{%";
    case Kind::kBlockEnd: return "%}";
    case Kind::kEnd: return "the end of the template";
    case Kind::kString: return "a string";
    default: return "'" + token.text + "'";
  }
}

}  // namespace

std::string TokenStream::expect_name() {
  if (!is(Kind::kName)) fail_expecting("a name");
  return next().text;
}

void TokenStream::expect_word(std::string_view text) {
  if (!skip_name(text)) fail_expecting("'" + std::string(text) + "'");
}

void TokenStream::expect_operator(std::string_view text) {
  if (!skip_operator(text)) fail_expecting("'" + std::string(text) + "'");
}

void TokenStream::expect(Kind kind) {
  if (!is(kind)) fail_expecting(shown({kind, "", 0}));
  next();
}

void TokenStream::fail(const std::string& what, int line) const {
  throw ConfigError(where_ + ":" + std::to_string(line > 0 ? line : current().line) + ": " + what);
}

void TokenStream::fail_expecting(const std::string& expected) const { fail("expected " + expected + ", found " + shown(current())); }

TokenStream::Nesting::Nesting(TokenStream& stream) : stream_(stream) {
  if (stream.nesting_ >= kMaxNesting) stream.fail("expressions or blocks are nested more than " + std::to_string(kMaxNesting) + " deep");
  ++stream.nesting_;
}

}  // namespace troupe
