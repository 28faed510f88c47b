#pragma once

#include <string>

#include "common/messages/messages.h"
#include "common/tokenizer/tokenizer.h"

namespace troupe {

/// The text of a completion without special tokens, without the stop token and from the first stop text on nothing. Ids that
/// the tokenizer does not have are left out.
std::string completion_text(const Completion& completion, const SamplingParams& sampling, const Tokenizer& tokenizer);

}  // namespace troupe
