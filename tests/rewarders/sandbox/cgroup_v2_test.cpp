// Version 2 of cgroups on a machine that has version 1: folders of a plain file system in which mkdir() makes what the kernel would.

#include <doctest/doctest.h>

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <set>
#include <string>

#include "rewarders/sandbox/cgroup.h"

namespace {

namespace fs = std::filesystem;

/// The folders whose new children are cgroups, with the controllers that these have.
std::map<std::string, std::set<std::string>>& delegations() {
  static std::map<std::string, std::set<std::string>> kDelegations;
  return kDelegations;
}

std::set<std::string> files_of(const std::set<std::string>& controllers) {
  std::set<std::string> files = {"cgroup.procs", "cgroup.subtree_control"};
  if (controllers.contains("memory")) files.insert({"memory.max", "memory.swap.max", "memory.events"});
  if (controllers.contains("pids")) files.insert({"pids.max", "pids.events"});
  if (controllers.contains("cpu")) files.insert("cpu.max");
  return files;
}

}  // namespace

// In the C library's place, for this binary's own code.
extern "C" int mkdir(const char* path, mode_t mode) noexcept {
  const long made = syscall(SYS_mkdir, path, mode);
  const auto parent = delegations().find(fs::path(path).parent_path().string());
  if (made != 0 || parent == delegations().end()) return static_cast<int>(made);
  for (const std::string& file : files_of(parent->second)) std::ofstream(fs::path(path) / file);
  return 0;
}

extern "C" int rmdir(const char* path) noexcept {
  const auto parent = delegations().find(fs::path(path).parent_path().string());
  if (parent != delegations().end()) {
    for (const std::string& file : files_of(parent->second)) unlink((fs::path(path) / file).c_str());
  }
  return static_cast<int>(syscall(SYS_rmdir, path));
}

namespace troupe {
namespace {

std::string first_line(const fs::path& file) {
  std::string line;
  std::ifstream in(file);
  std::getline(in, line);
  return line;
}

/// A mount with the group that this process is in.
class Tree {
 public:
  explicit Tree(const std::set<std::string>& above, const std::set<std::string>& below)
      : mount_(fs::temp_directory_path() / ("troupe-cgroup2-test-" + std::to_string(getpid()))) {
    fs::create_directories(own());
    std::ofstream(own() / "cgroup.subtree_control");
    delegations()[mount_.string()] = above;
    delegations()[own().string()] = below;
  }
  ~Tree() {
    delegations().clear();
    fs::remove_all(mount_);
  }
  fs::path mount() const { return mount_; }
  fs::path own() const { return mount_ / "own"; }
  CgroupHome home() const {
    return find_cgroup_home("30 20 0:26 / " + mount_.string() + " rw - cgroup2 cgroup2 rw", "0::/own\n");
  }

 private:
  fs::path mount_;
};

}  // namespace

TEST_SUITE("rewarders/sandbox/cgroup v2") {
  TEST_CASE("a program's group is made in the own group, with the limits in its files, and removed") {
    const Tree tree({}, {"memory", "pids", "cpu"});
    const CgroupHome home = tree.home();
    CHECK(home.describe() == "cgroup v2 (memory, pids, cpu)");
    CHECK(home.memory == tree.own());
    CHECK(first_line(tree.own() / "cgroup.subtree_control").starts_with("+cpu"));  // the last of those that were asked for

    SandboxLimits limits;
    limits.memory_bytes = 123 << 20;
    limits.processes = 17;
    {
      const Cgroup group(home, limits);
      REQUIRE(group.doors().size() == 1);
      const fs::path folder = fs::path(group.doors()[0]).parent_path();
      CHECK(folder.parent_path() == tree.own());
      CHECK(first_line(folder / "memory.max") == "128974848");
      CHECK(first_line(folder / "memory.swap.max") == "0");
      CHECK(first_line(folder / "pids.max") == "17");
      CHECK(first_line(folder / "cpu.max") == "100000 100000");
      CHECK_FALSE(group.ran_out_of_memory());
      CHECK_FALSE(group.ran_out_of_processes());
      std::ofstream(folder / "memory.events") << "low 0\nhigh 0\nmax 9\noom 1\noom_kill 1\n";
      std::ofstream(folder / "pids.events") << "max 3\n";
      CHECK(group.ran_out_of_memory());
      CHECK(group.ran_out_of_processes());
    }
    CHECK(std::distance(fs::directory_iterator(tree.own()), fs::directory_iterator()) == 1);  // cgroup.subtree_control
  }

  TEST_CASE("where the own group may not hand controllers down, the group above has them") {
    const Tree tree({"pids"}, {});
    const CgroupHome home = tree.home();
    CHECK(home.describe() == "cgroup v2 (pids)");
    CHECK(home.pids == tree.mount());
    const Cgroup group(home, SandboxLimits{});
    CHECK(fs::path(group.doors().at(0)).parent_path().parent_path() == tree.mount());
    CHECK_FALSE(group.ran_out_of_memory());
  }

  TEST_CASE("a tree without memory and processes is none, and one whose files cannot be written is an error") {
    CHECK(Tree({}, {"cpu"}).home().version == 0);
    const Tree tree({}, {"pids"});
    const CgroupHome home = tree.home();
    delegations()[tree.own().string()] = {};
    CHECK_THROWS_WITH(Cgroup(home, SandboxLimits{}), doctest::Contains("cannot set the limits of the cgroup"));
  }
}

}  // namespace troupe
