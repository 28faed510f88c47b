#pragma once

#include <string>

#include "common/messages/messages.h"
#include "common/tokenizer/tokenizer.h"

namespace troupe {

/// A completion's text without the stop token and special tokens; ids that pad a model's vocabulary beyond its tokenizer's have
/// no text.
std::string completion_text(const Completion& completion, const Tokenizer& tokenizer);

}  // namespace troupe
