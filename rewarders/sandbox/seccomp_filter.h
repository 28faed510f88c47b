#pragma once

#include <string>

namespace troupe {

/// The seccomp program (BPF, as bubblewrap's --seccomp reads it) of sandboxed programs. Killed with SIGSYS is who makes
/// namespaces, mounts, traces other processes, opens sockets other than AF_UNIX's, loads code into the kernel, or signals the
/// sandbox's first process. @throws TransportError where libseccomp cannot make it.
std::string seccomp_filter();

}  // namespace troupe
