#include "rewarders/sandbox/cgroup.h"

#include <doctest/doctest.h>

#include <csignal>
#include <fstream>

#include <sys/wait.h>
#include <unistd.h>

namespace troupe {
namespace {

namespace fs = std::filesystem;

class Folder {
 public:
  Folder() : path_(fs::temp_directory_path() / ("troupe-cgroup-test-" + std::to_string(getpid()))) { fs::create_directories(path_); }
  ~Folder() { fs::remove_all(path_); }
  const fs::path& path() const { return path_; }

 private:
  fs::path path_;
};

}  // namespace

TEST_SUITE("rewarders/sandbox/cgroup") {
  TEST_CASE("where nothing is mounted, or a mount has no controllers, there are no cgroups") {
    const Folder folder;  // a plain folder: groups made in it have no files

    CHECK(find_cgroup_home("", "0::/\n").describe() == "no cgroups");
    const std::string line = "30 20 0:26 / " + folder.path().string() + " rw - ";
    CHECK(find_cgroup_home(line + "cgroup2 cgroup2 rw", "0::/\n").version == 0);
    CHECK(find_cgroup_home(line + "cgroup cgroup rw,memory", "4:memory:/\n").version == 0);
    CHECK(fs::is_empty(folder.path()));
    CHECK(find_cgroup_home("garbage\n - \n1 2 3 - cgroup\n", "x\n::\n").version == 0);
  }

  TEST_CASE("a group of this machine's ends with the processes in it, and those of the dead are removed") {
    const CgroupHome home = find_cgroup_home();
    if (home.pids.empty()) {
      MESSAGE("this machine lets nobody make cgroups: ", home.describe());
      return;
    }
    const fs::path left = home.pids / "troupe-4194305-0";  // above the largest pid
    fs::create_directory(left);
    find_cgroup_home();
    CHECK_FALSE(fs::exists(left));

    const pid_t child = fork();
    if (child == 0) {
      pause();
      _exit(0);
    }
    fs::path door;
    {
      const Cgroup group(home, SandboxLimits{});
      REQUIRE_FALSE(group.doors().empty());
      for (const std::string& each : group.doors()) std::ofstream(each) << child;
      door = group.doors().front();
      CHECK_FALSE(group.ran_out_of_memory());
      CHECK_FALSE(group.ran_out_of_processes());
    }
    CHECK_FALSE(fs::exists(door));
    int status = 0;
    CHECK(waitpid(child, &status, 0) == child);
    CHECK(WTERMSIG(status) == SIGKILL);
  }
}

}  // namespace troupe
