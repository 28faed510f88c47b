#include "learner/hub/leftovers.h"

#include <algorithm>
#include <charconv>
#include <chrono>
#include <fstream>
#include <iterator>
#include <optional>
#include <thread>

#include "common/base/clock.h"
#include "common/base/text.h"

namespace troupe {
namespace {

namespace fs = std::filesystem;

std::vector<fs::path> entries_naming(const fs::path& folder, const std::string& part) {
  std::vector<fs::path> found;
  std::error_code ignored;  // a folder that is not there, or not ours to read, has nothing of the run
  for (const auto& entry : fs::directory_iterator(folder, ignored)) {
    if (entry.path().filename().string().find(part) != std::string::npos) found.push_back(entry.path());
  }
  std::sort(found.begin(), found.end());
  return found;
}

std::vector<fs::path> temporaries_in(const fs::path& root) {
  std::vector<fs::path> found;
  for (const auto& entry : fs::recursive_directory_iterator(root)) {
    if (entry.path().filename().string().find(".tmp-") != std::string::npos) found.push_back(entry.path());
  }
  return found;
}

std::optional<int> number_in(const std::string& text) {
  int number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  return error == std::errc() && end == text.data() + text.size() ? std::optional(number) : std::nullopt;
}

/// The words of a process's command line; none where it is gone or a zombie.
std::vector<std::string> words_of(const fs::path& process) {
  std::ifstream in(process / "cmdline", std::ios::binary);
  const std::string bytes((std::istreambuf_iterator<char>(in)), std::istreambuf_iterator<char>());
  std::vector<std::string> words;
  for (const std::string_view word : split(bytes, '\0')) words.emplace_back(word);
  return words;
}

/// "troupe actor (pid 123)" where the process is a role of the run in `root` (canonical).
std::optional<std::string> role_in(const fs::path& process, const fs::path& root) {
  const std::vector<std::string> words = words_of(process);
  if (words.size() < 4 || fs::path(words[0]).filename() != "troupe") return std::nullopt;
  if (words[1] != "run" && words[1] != "learner" && words[1] != "actor" && words[1] != "rewarder") return std::nullopt;
  const auto option = std::find(words.begin(), words.end(), "--run-dir");
  if (option == words.end() || std::next(option) == words.end()) return std::nullopt;
  std::error_code error;
  const fs::path cwd = fs::read_symlink(process / "cwd", error);
  if (error || fs::canonical(cwd / *std::next(option), error) != root) return std::nullopt;
  return "the process `troupe " + words[1] + "` (pid " + process.filename().string() + ")";
}

std::vector<std::string> processes_of(const fs::path& root) {
  std::vector<std::string> found;
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator("/proc", ignored)) {
    if (!number_in(entry.path().filename().string())) continue;
    if (auto role = role_in(entry.path(), root)) found.push_back(*std::move(role));
  }
  std::sort(found.begin(), found.end());
  return found;
}

std::vector<fs::path> shared_memory_of(const RunFolder& folder, const std::string& run_id) {
  std::vector<fs::path> found;
  if (!run_id.empty()) found = entries_naming("/dev/shm", "troupe-" + run_id + "-");
  if (fs::exists(folder.mpi_memory())) found.push_back(folder.mpi_memory());
  return found;
}

}  // namespace

std::vector<fs::path> clear_shared_memory(const RunFolder& folder, const std::string& run_id) {
  std::vector<fs::path> found = shared_memory_of(folder, run_id);
  std::error_code gone;
  for (const fs::path& path : found) fs::remove_all(path, gone);
  return found;
}

std::vector<std::string> leftovers_of(const RunFolder& folder, const std::string& run_id, std::int64_t grace_ms) {
  std::vector<std::string> found;
  for (const fs::path& path : temporaries_in(folder.root)) found.push_back("the temporary " + path.string());
  const fs::path root = fs::canonical(folder.root);
  const Deadline deadline = Deadline::after_ms(grace_ms);
  std::vector<std::string> processes = processes_of(root);
  while (!processes.empty() && !deadline.expired()) {
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    processes = processes_of(root);
  }
  // After the processes: the supervisor clears MPI's when the learners have ended.
  for (const fs::path& path : shared_memory_of(folder, run_id)) found.push_back("the shared memory " + path.string());
  found.insert(found.end(), processes.begin(), processes.end());
  return found;
}

}  // namespace troupe
