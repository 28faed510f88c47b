#include "common/config/run_folder.h"

#include <doctest/doctest.h>

#include <unistd.h>

#include <cstdlib>
#include <fstream>

#include "common/base/error.h"
#include "common/base/files.h"

namespace troupe {
namespace {

struct Fixture {
  Fixture() {
    std::string pattern = (std::filesystem::temp_directory_path() / "troupe-folder-XXXXXX").string();
    REQUIRE(mkdtemp(pattern.data()) != nullptr);
    folder.root = pattern;
  }
  ~Fixture() { std::filesystem::remove_all(folder.root); }
  void write_lock(const std::string& text) { std::ofstream(folder.lock()) << text; }
  RunFolder folder;
};

}  // namespace

TEST_SUITE("config/run_folder") {
  TEST_CASE_FIXTURE(Fixture, "the hub's address reads back, and is nothing before it is written") {
    CHECK_FALSE(read_hub_address(folder));

    write_hub_address(folder, {"tcp://127.0.0.1:5", 7, "here", 3});

    const auto address = read_hub_address(folder);
    REQUIRE(address);
    CHECK(address->endpoint == "tcp://127.0.0.1:5");
    CHECK(address->pid == 7);
    CHECK(address->incarnation == 3);
    std::ofstream(folder.hub()) << "{}";
    CHECK_THROWS_WITH_AS(read_hub_address(folder), doctest::Contains("hub.json"), ConfigError);
  }

  TEST_CASE_FIXTURE(Fixture, "an owner is alive where the lock names a process of this host that runs") {
    CHECK_FALSE(has_live_owner(folder));
    write_lock("pid " + std::to_string(getpid()) + " on host elsewhere.invalid\n");
    CHECK_FALSE(has_live_owner(folder));
    write_lock("pid 4194305 on host " + host_name() + "\n");  // above the kernel's highest pid
    CHECK_FALSE(has_live_owner(folder));
    std::filesystem::remove(folder.lock());

    const FolderLock lock(folder.lock());

    CHECK(has_live_owner(folder));
  }

  TEST_CASE_FIXTURE(Fixture, "the hub's token is random, one a run, readable by its owner alone, and empty where there is none") {
    CHECK(read_hub_token(folder).empty());

    const std::string token = make_hub_token(folder);

    CHECK(token.size() == 32);
    CHECK(read_hub_token(folder) == token);
    CHECK(std::filesystem::status(folder.token()).permissions() ==
          (std::filesystem::perms::owner_read | std::filesystem::perms::owner_write));
    CHECK(make_hub_token(folder) == token);
    std::filesystem::remove(folder.token());
    CHECK(make_hub_token(folder) != token);
  }

  TEST_CASE_FIXTURE(Fixture, "a run directory has one place for MPI's memory, however it is named, and no other has it") {
    const std::filesystem::path place = folder.mpi_memory();

    CHECK(place.string().starts_with("/dev/shm/troupe-mpi-"));
    CHECK(RunFolder{folder.root / "logs" / ".."}.mpi_memory() == place);
    CHECK(RunFolder{folder.root / ""}.mpi_memory() == place);
    CHECK(RunFolder{std::filesystem::relative(folder.root)}.mpi_memory() == place);
    CHECK(RunFolder{folder.root / "logs"}.mpi_memory() != place);
  }

  TEST_CASE("a hub on loopback is reachable from its own host alone, one beyond it from everywhere") {
    const HubAddress loopback{"tcp://127.0.0.1:5", 7, "n1", 3};
    CHECK_NOTHROW(check_reachable(loopback, "n1"));
    CHECK_THROWS_WITH_AS(check_reachable(loopback, "n2"),
                         doctest::Contains("tcp://127.0.0.1:5 on n1, which n2 cannot reach: start the learners with hub.bind"), ConfigError);
    CHECK_NOTHROW(check_reachable({"tcp://n1:5", 7, "n1", 3}, "n2"));
  }
}

}  // namespace troupe
