#pragma once

#include <string>
#include <string_view>

#include "common/chat/syntax.h"

namespace troupe {

/// The statements of a template. @throws ConfigError starting with "`where`:LINE: " for what is malformed or not supported.
TemplateBlock parse_template(std::string_view source, const std::string& where);

}  // namespace troupe
