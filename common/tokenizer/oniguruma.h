#pragma once

#include <string>

namespace troupe {

/// `pattern`, which is in the syntax of Oniguruma (what Hugging Face's tokenizers match with), as PCRE2 with UTF, UCP and MULTILINE
/// must be told it to mean the same. @throws ConfigError naming `where`, the pattern, and the construct that the two read
/// differently and that is not rewritten here.
std::string pcre2_of_oniguruma(const std::string& pattern, const std::string& where);

}  // namespace troupe
