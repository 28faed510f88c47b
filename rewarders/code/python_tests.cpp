#include "rewarders/code/python_tests.h"

#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cstring>
#include <optional>
#include <string_view>

#include <nlohmann/json.hpp>

#include "common/base/error.h"

namespace troupe {

extern const std::string_view kWirePart;
extern const std::string_view kWorkerPart;
extern const std::string_view kTesterPart;

namespace {

constexpr double kVerdictS = 2;      // from the program's end to what the tests say of it
constexpr double kLongTimeS = 1e7;   // a tester's life
constexpr std::uint64_t kTesterMemoryBytes = std::uint64_t{2} << 30;

std::array<FileDescriptor, 2> make_sockets() {
  std::array<int, 2> ends{};
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) != 0) throw TransportError("cannot make a pair of sockets");
  return {FileDescriptor(ends[0]), FileDescriptor(ends[1])};
}

std::vector<std::string> python(std::string_view part) {
  return {"python3", "-I", "-B", "-c", std::string(kWirePart) + std::string(part)};
}

/// Sends `line` and, with its first bytes, a descriptor. False where the other end is gone.
bool send_with(int socket, const std::string& line, int descriptor) {
  std::size_t sent = 0;
  while (sent < line.size()) {
    iovec bytes{const_cast<char*>(line.data()) + sent, line.size() - sent};
    alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> control{};
    msghdr message{};
    message.msg_iov = &bytes;
    message.msg_iovlen = 1;
    if (sent == 0) {
      message.msg_control = control.data();
      message.msg_controllen = control.size();
      cmsghdr* header = CMSG_FIRSTHDR(&message);
      header->cmsg_level = SOL_SOCKET;
      header->cmsg_type = SCM_RIGHTS;
      header->cmsg_len = CMSG_LEN(sizeof(int));
      std::memcpy(CMSG_DATA(header), &descriptor, sizeof(int));
    }
    const ssize_t now = sendmsg(socket, &message, MSG_NOSIGNAL);
    if (now <= 0) return false;
    sent += static_cast<std::size_t>(now);
  }
  return true;
}

}  // namespace

/// The sandbox of the tests.
struct PythonTests::Tester {
  FileDescriptor control;
  std::unique_ptr<SandboxedProcess> process;

  /// The verdict on the item that was sent, once it is there whole.
  std::optional<nlohmann::json> verdict() {
    std::array<char, 4096> buffer{};
    const ssize_t got = recv(control.get(), buffer.data(), buffer.size(), MSG_DONTWAIT);
    if (got > 0) text.append(buffer.data(), static_cast<std::size_t>(got));
    if (!text.ends_with('\n')) return std::nullopt;
    const nlohmann::json result = nlohmann::json::parse(text);
    text.clear();
    return result;
  }

  std::string text;
};

PythonTests::PythonTests(const Sandbox& sandbox) : sandbox_(sandbox) {}
PythonTests::~PythonTests() = default;

PythonTests::Tester& PythonTests::tester() {
  if (tester_ && !tester_->process->over()) return *tester_;
  auto ends = make_sockets();
  SandboxJob job;
  job.command = python(kTesterPart);
  job.channel = ends[1].get();
  job.limits.time_s = kLongTimeS;
  job.limits.memory_bytes = kTesterMemoryBytes;
  tester_ = std::make_unique<Tester>(Tester{std::move(ends[0]), sandbox_.start(job), ""});
  return *tester_;
}

Verdict PythonTests::run(const PythonItem& item, const SandboxLimits& limits, bool share) {
  const nlohmann::json message = {{"program", item.program}, {"setup", item.setup},     {"stub", item.stub}, {"entry_point", item.entry_point},
                                  {"check", item.check},     {"asserts", item.asserts}, {"share", share}};
  const std::string line = message.dump(-1, ' ', true, nlohmann::json::error_handler_t::replace) + "\n";
  Tester& tests = tester();
  auto ends = make_sockets();
  SandboxJob job;
  job.command = python(kWorkerPart);
  job.channel = ends[1].get();
  job.limits = limits;
  const auto program = sandbox_.start(job);
  const bool sent = send_with(tests.control.get(), line, ends[0].get());
  ends = {};  // so that each side learns of the other's end
  std::optional<nlohmann::json> verdict;
  SandboxedProcess* const both[] = {program.get(), tests.process.get()};
  while (sent && !(verdict = tests.verdict()) && !program->over() && !tests.process->over()) {
    SandboxedProcess::watch(both, tests.control.get(), Deadline::after_s(1));
  }
  // The socket of a program that is killed closes before its end can be seen.
  if (verdict && verdict->at("reason") == "lost") SandboxedProcess::watch(std::span(both).first(1), -1, Deadline::after_s(1));
  const SandboxOutcome outcome = program->finish();
  const Deadline patience = Deadline::after_s(kVerdictS);
  while (sent && !verdict && !patience.expired() && !tests.process->over() && !(verdict = tests.verdict())) {
    SandboxedProcess::watch(std::span(both).last(1), tests.control.get(), patience);
  }
  if (!verdict) tester_.reset();
  const std::string told = verdict ? verdict->at("reason").get<std::string>() : "lost";
  if (outcome.end == SandboxEnd::kFailed || told == "no_verdict") return {0, 0, "verifier_failed"};
  if (!verdict) return {0, 1, outcome.end == SandboxEnd::kTimeLimit ? "time_limit" : "verifier_failed"};
  const bool short_of_memory = outcome.memory_kill && told != "ok";
  return {verdict->at("passed"), verdict->at("total"), short_of_memory ? "memory_limit" : told == "lost" ? reason_of(outcome) : told};
}

}  // namespace troupe
