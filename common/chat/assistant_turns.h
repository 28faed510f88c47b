#pragma once

#include "common/chat/chat_template.h"

namespace troupe {

/// The conversation as text, with the ranges of the assistant's turns: the template's {% generation %} blocks where it has any;
/// else each turn from behind the generation prompt to the end of what the template writes for it, which wants a template
/// whose text of the first messages begins its text of them all.
/// @throws ConfigError where the assistant says nothing, or the template writes earlier messages anew.
RenderedChat with_assistant_turns(const ChatTemplate& chat_template, const nlohmann::ordered_json& messages, ChatOptions options);

}  // namespace troupe
