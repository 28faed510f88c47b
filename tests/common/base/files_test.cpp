#include "common/base/files.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <iterator>

#include <doctest/doctest.h>

#include "common/base/error.h"

using namespace troupe;
namespace fs = std::filesystem;

namespace {

/// An empty folder of this test's own.
struct Folder {
  fs::path path = fs::temp_directory_path() / ("troupe-files-" + std::to_string(::getpid()));
  Folder() {
    fs::remove_all(path);
    fs::create_directories(path);
  }
  ~Folder() { fs::remove_all(path); }
};

std::ptrdiff_t entries(const fs::path& folder) {
  return std::distance(fs::directory_iterator(folder), fs::directory_iterator());
}

std::string message_of(const auto& action) {
  try {
    action();
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

}  // namespace

TEST_SUITE("base/files") {
  TEST_CASE("a file written atomically reads back, replaces the old one and leaves no temporary") {
    const Folder folder;
    const fs::path path = folder.path / "a.txt";

    write_file_atomically(path, "old");
    write_file_atomically(path, std::string("new\0bytes", 9), 0600);

    CHECK(read_file(path) == std::string("new\0bytes", 9));
    CHECK(entries(folder.path) == 1);
    struct stat status {};
    REQUIRE(::stat(path.c_str(), &status) == 0);
    CHECK((status.st_mode & 0777) == 0600);
  }

  TEST_CASE("a failed write keeps the old file, leaves no temporary and names the path") {
    const Folder folder;
    const fs::path target = folder.path / "taken";
    fs::create_directories(target / "inside");  // rename cannot replace a folder

    CHECK_THROWS_AS(write_file_atomically(target, "x"), TransportError);
    CHECK(contains(message_of([&] { write_file_atomically(target, "x"); }), target.string()));
    CHECK(contains(message_of([&] { write_file_atomically(folder.path / "no/such/f", "x"); }), "No such file"));
    CHECK(entries(folder.path) == 1);
  }

  TEST_CASE("a missing or unreadable file is named with the reason") {
    const Folder folder;

    CHECK_THROWS_AS(read_file(folder.path / "missing"), ConfigError);
    CHECK(contains(message_of([&] { read_file(folder.path / "missing"); }), "missing: No such file or directory"));
    CHECK(contains(message_of([&] { read_file(folder.path); }), "Is a directory"));
  }

  TEST_CASE("a write to a full device fails with its name") {
    const FileDescriptor full(::open("/dev/full", O_WRONLY | O_CLOEXEC));
    REQUIRE(full);
    const std::string bytes = "x";

    const auto write = [&] { write_all(full.get(), std::as_bytes(std::span(bytes)), "the ledger"); };

    CHECK_THROWS_AS(write(), TransportError);
    CHECK(contains(message_of(write), "the ledger: No space left"));
  }

  TEST_CASE("a second process is refused a held lock with the owner's pid, and gets it afterwards") {
    const Folder folder;
    const fs::path path = folder.path / "lock";
    int child_status = 0;

    {
      const FolderLock lock(path);
      const std::string message = message_of([&] { FolderLock second(path); });
      CHECK(contains(message, "pid " + std::to_string(::getpid())));
      CHECK(contains(message, folder.path.string()));
    }
    const pid_t child = ::fork();
    if (child == 0) {
      const FolderLock lock(path);
      ::_exit(contains(read_file(path), "pid " + std::to_string(::getpid())) ? 0 : 1);
    }
    ::waitpid(child, &child_status, 0);

    CHECK(child_status == 0);
    CHECK_NOTHROW(FolderLock{path});  // released by the child's death
  }

  TEST_CASE("a mapped file shows the file's bytes, an empty one none, and moves") {
    const Folder folder;
    write_file_atomically(folder.path / "full", "bytes");
    write_file_atomically(folder.path / "empty", "");

    MappedFile first(folder.path / "full");
    const MappedFile second(std::move(first));

    REQUIRE(second.bytes().size() == 5);
    CHECK(static_cast<char>(second.bytes()[4]) == 's');
    CHECK(MappedFile(folder.path / "empty").bytes().empty());
    CHECK_THROWS_AS(MappedFile(folder.path / "missing"), ConfigError);
    CHECK_THROWS_AS(MappedFile{folder.path}, ConfigError);
  }

  TEST_CASE("a descriptor is closed once, by its last owner") {
    FileDescriptor a(::open("/dev/null", O_RDONLY | O_CLOEXEC));
    const int number = a.get();
    FileDescriptor b(::open("/dev/null", O_RDONLY | O_CLOEXEC));
    const int replaced = b.get();

    b = std::move(a);

    CHECK(b.get() == number);
    CHECK(::fcntl(number, F_GETFD) != -1);
    CHECK(::fcntl(replaced, F_GETFD) == -1);
    ::close(b.release());
    CHECK_FALSE(b);
  }
}
