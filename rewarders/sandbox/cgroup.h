#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "rewarders/sandbox/limits.h"

namespace troupe {

/// The folders under which this process may make cgroups. Version 1 has a hierarchy a controller, version 2 one for all; a
/// controller whose folder is empty cannot be had.
struct CgroupHome {
  int version = 0;  // 0: none, 1 or 2
  std::filesystem::path memory;
  std::filesystem::path pids;
  std::filesystem::path cpu;

  /// What the run says that it has: "cgroup v1 (memory, pids, cpu)" or "no cgroups".
  std::string describe() const;
};

/// Reads where the kernel keeps this process (texts of /proc/self/mountinfo and /proc/self/cgroup) and tries which of those
/// folders take a new cgroup with the controller's limit. Removes what earlier processes left that were killed.
CgroupHome find_cgroup_home(std::string_view mountinfo, std::string_view self_cgroup);
/// Of this very process.
CgroupHome find_cgroup_home();

/// A cgroup of one sandboxed program in each hierarchy, with its limits. Emptied (SIGKILL) and removed on destruction.
class Cgroup {
 public:
  /// @throws TransportError where a folder or limit cannot be written.
  Cgroup(const CgroupHome& home, const SandboxLimits& limits);
  ~Cgroup();
  Cgroup(const Cgroup&) = delete;
  Cgroup& operator=(const Cgroup&) = delete;

  /// The files that a process writes "0" into to join.
  const std::vector<std::string>& doors() const { return doors_; }
  /// Whether the kernel killed a process of it for lack of memory.
  bool ran_out_of_memory() const;
  /// Whether a fork was refused.
  bool ran_out_of_processes() const;

 private:
  bool empty() const;

  int version_;
  std::vector<std::filesystem::path> folders_;
  std::filesystem::path memory_;
  std::filesystem::path pids_;
  std::vector<std::string> doors_;
};

}  // namespace troupe
