#include "tests/faults/injection.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdlib>
#include <optional>
#include <thread>
#include <vector>

#include "common/base/error.h"
#include "common/base/fault.h"
#include "common/base/text.h"

namespace troupe::fault {
namespace {

struct Fault {
  std::string point;  // a name or, with its last character a *, a beginning
  std::string rank;
  std::uint64_t nth = 1;
  bool onward = false;  // every later hit too
  std::string action;
  std::string mark;
};

// State of the process by nature: points are everywhere and take no argument.
std::optional<Fault> g_fault;
std::atomic<std::uint64_t> g_hits = 0;

bool names(const std::string& pattern, std::string_view point) {
  if (pattern.ends_with('*')) return point.starts_with(std::string_view(pattern).substr(0, pattern.size() - 1));
  return pattern == point;
}

[[noreturn]] void refuse(const std::string& fault, const std::string& what) {
  throw ConfigError("TROUPE_FAULT=" + fault + ": expected point:rank:nth:action, " + what);
}

std::vector<std::string> parts_of(const std::string& text) {
  std::vector<std::string> parts(1);
  for (const char c : text) {
    if (c == ':') {
      parts.emplace_back();
    } else {
      parts.back() += c;
    }
  }
  return parts;
}

Fault parse(const std::string& text) {
  const std::vector<std::string> parts = parts_of(text);
  if (parts.size() != 4) refuse(text, "found " + std::to_string(parts.size()) + " parts");
  Fault fault{parts[0], parts[1], 1, parts[2].ends_with('+'), parts[3], ""};
  if (std::none_of(kPoints.begin(), kPoints.end(), [&](std::string_view p) { return names(fault.point, p); })) {
    refuse(text, "found no point " + parts[0]);
  }
  char* end = nullptr;
  fault.nth = std::strtoull(parts[2].c_str(), &end, 10);
  if (fault.nth == 0 || std::string_view(end) != (fault.onward ? "+" : "")) refuse(text, "nth from 1, found " + parts[2]);
  const std::vector<std::string> actions = {"kill", "stop", "error", "delay", "corrupt"};
  if (std::find(actions.begin(), actions.end(), fault.action) == actions.end()) refuse(text, "an action of " + join(actions, ", "));
  return fault;
}

/// Whether this hit of the point is the one. Makes the mark.
bool happens(Point point) {
  if (!g_fault || !names(g_fault->point, kPoints[point.number])) return false;
  const std::uint64_t hit = ++g_hits;
  if (g_fault->onward ? hit < g_fault->nth : hit != g_fault->nth) return false;
  if (g_fault->mark.empty()) return true;
  const int fd = ::open(g_fault->mark.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
  if (fd >= 0) ::close(fd);
  return fd >= 0 || g_fault->onward;
}

}  // namespace

void arm(const std::string& fault) {
  g_hits = 0;
  g_fault.reset();
  if (!fault.empty()) g_fault = parse(fault);
}

void identify(std::string_view role, int rank) {
  const char* const text = std::getenv("TROUPE_FAULT");
  if (text == nullptr) return;
  Fault fault = parse(text);
  const std::string number = std::to_string(rank);
  if (fault.rank != "*" && fault.rank != number && fault.rank != std::string(role) + number) return;
  if (const char* const mark = std::getenv("TROUPE_FAULT_MARK")) fault.mark = mark;
  g_fault = std::move(fault);
}

void point(Point point) {
  if (!g_fault || g_fault->action == "corrupt" || !happens(point)) return;
  // To this very thread: it does not get any further.
  if (g_fault->action == "kill") ::raise(SIGKILL);
  if (g_fault->action == "stop") ::raise(SIGSTOP);
  if (g_fault->action == "delay") std::this_thread::sleep_for(std::chrono::seconds(1));
  if (g_fault->action == "error") throw TransportError("injected fault at " + std::string(kPoints[point.number]));
}

bool spoilt(Point point) { return g_fault && g_fault->action == "corrupt" && happens(point); }

}  // namespace troupe::fault
