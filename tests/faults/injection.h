#pragma once

#include <string>

namespace troupe::fault {

// What TROUPE_FAULT=point:rank:nth:action asks of a process, in place of the empty functions of common/base/fault.cpp.
//
// `point` is a name of kPoints, or its beginning and a *: "file.*". `rank` is a rank (1), a role and a rank ("learner1") or *.
// `nth` is the point's hit that counts, from 1; with a + every later one too. `action` is kill (SIGKILL), stop (SIGSTOP), error (a
// TransportError), delay (a second) or corrupt. With TROUPE_FAULT_MARK=FILE the first process that gets there makes the file, and
// a fault whose file is there does not happen again: so a restarted process is spared, and a test sees that the point was reached.

/// Takes a fault in this process, whatever its role and rank; "" takes none. @throws ConfigError naming the part that is wrong.
void arm(const std::string& fault);

}  // namespace troupe::fault
