#include "rewarders/sandbox/cgroup.h"

#include <csignal>
#include <cstdlib>
#include <fstream>
#include <set>
#include <sstream>

#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/base/error.h"
#include "common/base/files.h"
#include "common/base/text.h"

namespace troupe {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kPrefix = "troupe-";  // then the owner's pid and a number
constexpr int kEmptyWithinMs = 2000;

/// Writes a value as the kernel wants it: in one write, without creating the file. False where it is refused.
bool put(const fs::path& file, const std::string& value) {
  const FileDescriptor fd(open(file.c_str(), O_WRONLY | O_CLOEXEC));
  return fd && write(fd.get(), value.data(), value.size()) == static_cast<ssize_t>(value.size());
}

/// The number behind `key` in a file of "key number" lines; 0 where it is not there.
std::uint64_t count_in_file(const fs::path& file, const std::string& key) {
  std::ifstream in(file);
  std::string name;
  for (std::uint64_t count = 0; in >> name >> count;) {
    if (name == key) return count;
  }
  return 0;
}

/// Removes the groups of processes that are no more.
void clear_leftovers(const fs::path& home) {
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(home, error)) {
    const std::string name = entry.path().filename().string();
    if (!name.starts_with(kPrefix)) continue;
    const pid_t owner = std::atoi(name.c_str() + kPrefix.size());
    if (owner > 0 && kill(owner, 0) != 0 && errno == ESRCH) rmdir(entry.path().c_str());
  }
}

fs::path new_folder(const fs::path& home) {
  static_assert(sizeof(pid_t) <= sizeof(int));
  for (int number = 0;; ++number) {
    const fs::path folder = home / (std::string(kPrefix) + std::to_string(getpid()) + "-" + std::to_string(number));
    if (mkdir(folder.c_str(), 0755) == 0) return folder;
    if (errno != EEXIST || number > 1000) throw TransportError("cannot make the cgroup " + folder.string());
  }
}

/// Whether a cgroup can be made in `home` that has `file` and lets a process in.
bool takes_groups(const fs::path& home, const std::string& file) {
  if (home.empty() || access(home.c_str(), W_OK) != 0) return false;
  try {
    const fs::path folder = new_folder(home);
    const bool there = access((folder / file).c_str(), W_OK) == 0 && access((folder / "cgroup.procs").c_str(), W_OK) == 0;
    rmdir(folder.c_str());
    return there;
  } catch (const TransportError&) {
    return false;
  }
}

struct Mount {
  fs::path point;
  std::string type;  // cgroup or cgroup2
  std::set<std::string> options;
};

/// The cgroup mounts of a mountinfo text: "… ROOT POINT … - TYPE SOURCE OPTIONS".
std::vector<Mount> cgroup_mounts(std::string_view mountinfo) {
  std::vector<Mount> mounts;
  for (const std::string_view line : split(mountinfo, '\n')) {
    const std::size_t dash = line.find(" - ");
    if (dash == std::string_view::npos) continue;
    const auto before = split(line.substr(0, dash), ' ');
    const auto after = split(line.substr(dash + 3), ' ');
    if (before.size() < 5 || after.size() < 3 || !after[0].starts_with("cgroup")) continue;
    Mount mount{std::string(before[4]), std::string(after[0]), {}};
    for (const std::string_view option : split(after[2], ',')) mount.options.emplace(option);
    mounts.push_back(std::move(mount));
  }
  return mounts;
}

/// This process's path in the hierarchy of `controller` ("" for version 2) of a /proc/self/cgroup text: "N:CONTROLLERS:PATH".
std::string own_path(std::string_view self_cgroup, std::string_view controller) {
  for (const std::string_view line : split(self_cgroup, '\n')) {
    const auto parts = split(line, ':');
    if (parts.size() < 3) continue;
    for (const std::string_view name : split(parts[1], ',')) {
      if (name == controller) return std::string(line.substr(parts[0].size() + parts[1].size() + 2));
    }
  }
  return "/";
}

/// Version 1: the process's own group in the controller's hierarchy, or (in a container that shows another root) its mount.
fs::path home_v1(const std::vector<Mount>& mounts, std::string_view self_cgroup, const std::string& controller,
                 const std::string& file) {
  for (const Mount& mount : mounts) {
    if (mount.type != "cgroup" || !mount.options.contains(controller)) continue;
    for (const fs::path& home : {fs::path(mount.point.string() + own_path(self_cgroup, controller)), mount.point}) {
      if (takes_groups(home, file)) return home;
    }
  }
  return {};
}

/// Version 2: the process's own group where it may hand controllers down, or else the group above, whose children have them.
CgroupHome home_v2(const std::vector<Mount>& mounts, std::string_view self_cgroup) {
  for (const Mount& mount : mounts) {
    if (mount.type != "cgroup2") continue;
    const fs::path own = fs::path(mount.point.string() + own_path(self_cgroup, "")).lexically_normal();
    for (const char* controller : {"+memory", "+pids", "+cpu"}) put(own / "cgroup.subtree_control", controller);
    for (const fs::path& home : {own, own.parent_path(), mount.point}) {
      const auto where = [&](const std::string& file) { return takes_groups(home, file) ? home : fs::path(); };
      const CgroupHome found{2, where("memory.max"), where("pids.max"), where("cpu.max")};
      if (!found.memory.empty() || !found.pids.empty()) return found;
    }
  }
  return {};
}

}  // namespace

std::string CgroupHome::describe() const {
  if (version == 0) return "no cgroups";
  std::vector<std::string> names;
  if (!memory.empty()) names.emplace_back("memory");
  if (!pids.empty()) names.emplace_back("pids");
  if (!cpu.empty()) names.emplace_back("cpu");
  return "cgroup v" + std::to_string(version) + " (" + join(names, ", ") + ")";
}

CgroupHome find_cgroup_home(std::string_view mountinfo, std::string_view self_cgroup) {
  const std::vector<Mount> mounts = cgroup_mounts(mountinfo);
  CgroupHome home = home_v2(mounts, self_cgroup);
  if (home.version == 0) {
    home = {1, home_v1(mounts, self_cgroup, "memory", "memory.limit_in_bytes"),
            home_v1(mounts, self_cgroup, "pids", "pids.max"), home_v1(mounts, self_cgroup, "cpu", "cpu.cfs_quota_us")};
    if (home.memory.empty() && home.pids.empty() && home.cpu.empty()) return {};
  }
  for (const fs::path& folder : {home.memory, home.pids, home.cpu}) {
    if (!folder.empty()) clear_leftovers(folder);
  }
  return home;
}

CgroupHome find_cgroup_home() { return find_cgroup_home(read_file("/proc/self/mountinfo"), read_file("/proc/self/cgroup")); }

Cgroup::Cgroup(const CgroupHome& home, const SandboxLimits& limits) : version_(home.version) {
  for (const fs::path& parent : {home.memory, home.pids, home.cpu}) {
    if (parent.empty() || (version_ == 2 && !folders_.empty())) continue;
    folders_.push_back(new_folder(parent));
    doors_.push_back((folders_.back() / "cgroup.procs").string());
    if (parent == home.memory) memory_ = folders_.back();
    if (parent == home.pids) pids_ = folders_.back();
  }
  if (folders_.empty()) return;
  const std::string memory = std::to_string(limits.memory_bytes);
  const bool v2 = version_ == 2;
  bool good = memory_.empty() || put(memory_ / (v2 ? "memory.max" : "memory.limit_in_bytes"), memory);
  // Not there without swap accounting.
  if (!memory_.empty()) put(memory_ / (v2 ? "memory.swap.max" : "memory.memsw.limit_in_bytes"), v2 ? "0" : memory);
  good = good && (pids_.empty() || put(pids_ / "pids.max", std::to_string(limits.processes)));
  // One core: a program's time is the same however many threads it has.
  if (!home.cpu.empty()) {
    const fs::path cpu = folders_.back();
    good = good && (v2 ? put(cpu / "cpu.max", "100000 100000") : put(cpu / "cpu.cfs_quota_us", "100000"));
  }
  if (!good) throw TransportError("cannot set the limits of the cgroup " + folders_.front().string());
}

Cgroup::~Cgroup() {
  // A group can list processes for a moment after their end; one that does not get empty is left to the next start.
  const Deadline deadline = Deadline::after_ms(kEmptyWithinMs);
  while (!empty() && !deadline.expired()) poll(nullptr, 0, 1);
  for (const fs::path& folder : folders_) {
    while (rmdir(folder.c_str()) != 0 && errno == EBUSY && !deadline.expired()) poll(nullptr, 0, 1);
  }
}

bool Cgroup::empty() const {
  bool none = true;
  for (const std::string& door : doors_) {
    std::ifstream in(door);
    for (pid_t pid = 0; in >> pid;) {
      none = false;
      kill(pid, SIGKILL);
    }
  }
  return none;
}

bool Cgroup::ran_out_of_memory() const {
  if (memory_.empty()) return false;
  return count_in_file(memory_ / (version_ == 2 ? "memory.events" : "memory.oom_control"), "oom_kill") > 0;
}

bool Cgroup::ran_out_of_processes() const {
  return !pids_.empty() && count_in_file(pids_ / "pids.events", "max") > 0;
}

}  // namespace troupe
