#pragma once

#include <string>

namespace troupe {

/// RUN/version.txt: the git revision that the program was built from, the versions of its libraries, host and CPU.
std::string version_text();

}  // namespace troupe
