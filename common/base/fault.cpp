#include "common/base/fault.h"

namespace troupe::fault {

// Weak: a program that is linked with tests/faults/injection.cpp has that file's instead.
[[gnu::weak]] void identify(std::string_view, int) {}
[[gnu::weak]] void point(Point) {}
[[gnu::weak]] bool spoilt(Point) { return false; }

}  // namespace troupe::fault
