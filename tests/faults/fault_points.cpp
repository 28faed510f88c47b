#include <iostream>

#include "common/base/fault.h"

/// Prints the names of all fault points, one a line.
int main() {
  for (const std::string_view point : troupe::fault::kPoints) std::cout << point << '\n';
}
