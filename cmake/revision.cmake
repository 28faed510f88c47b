# Writes REVISION_FILE with the git revision ("abc1234", "abc1234+changes", or "unknown" outside a checkout), if it changed.
execute_process(COMMAND git describe --always --dirty=+changes --abbrev=12 WORKING_DIRECTORY ${SOURCE_DIR}
  OUTPUT_VARIABLE revision OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
if(NOT revision)
  set(revision unknown)
endif()
set(text "#pragma once\n\nnamespace troupe {\n\ninline constexpr const char* kRevision = \"${revision}\";\n\n}  // namespace troupe\n")
if(EXISTS ${REVISION_FILE})
  file(READ ${REVISION_FILE} old)
endif()
if(NOT "${old}" STREQUAL "${text}")
  file(WRITE ${REVISION_FILE} "${text}")
endif()
