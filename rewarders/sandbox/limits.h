#pragma once

#include <cstdint>

namespace troupe {

/// What one sandboxed program may use.
struct SandboxLimits {
  // CPU time of each of its processes; and wall clock, from the moment when it begins, without the time in which it could run and the
  // machine had no core for it (at most four times as long again)
  double time_s = 10;
  std::uint64_t memory_bytes = std::uint64_t{1} << 30;  // address space of each process; with cgroups, of all together
  std::uint64_t scratch_bytes = std::uint64_t{64} << 20;  // of /tmp, of /dev/shm, and of any one file
  std::uint64_t output_bytes = std::uint64_t{16} << 20;   // standard output and standard error together
  int processes = 64;                              // and threads, the sandbox's own two included
  int files = 256;                                 // open at once in a process
  bool operator==(const SandboxLimits&) const = default;
};

}  // namespace troupe
