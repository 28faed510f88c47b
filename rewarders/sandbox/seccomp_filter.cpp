#include "rewarders/sandbox/seccomp_filter.h"

#include <sched.h>
#include <seccomp.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <memory>

#include "common/base/error.h"
#include "common/base/files.h"

namespace troupe {
namespace {

// By name: a kernel's or an architecture's list need not have all of them.
constexpr const char* kForbidden[] = {
    "acct",          "add_key",          "bpf",           "chroot",          "clock_adjtime",     "clock_settime",
    "delete_module", "fanotify_init",    "finit_module",  "fsconfig",        "fsmount",           "fsopen",
    "fspick",        "init_module",      "io_uring_enter", "io_uring_register", "io_uring_setup", "ioperm",
    "iopl",          "kcmp",             "kexec_file_load", "kexec_load",    "keyctl",            "lookup_dcookie",
    "mount",         "mount_setattr",    "move_mount",    "move_pages",      "name_to_handle_at", "nfsservctl",
    "open_by_handle_at", "open_tree",    "perf_event_open", "pidfd_getfd",   "pivot_root",        "process_madvise",
    "process_vm_readv", "process_vm_writev", "ptrace",    "quotactl",        "reboot",            "request_key",
    "setdomainname", "sethostname",      "setns",         "settimeofday",    "swapoff",           "swapon",
    "sysfs",         "syslog",           "umount",        "umount2",         "unshare",           "userfaultfd",
    "vhangup",
};
constexpr std::uint64_t kNamespaces[] = {CLONE_NEWCGROUP, CLONE_NEWIPC, CLONE_NEWNET, CLONE_NEWNS, CLONE_NEWPID, CLONE_NEWUSER, CLONE_NEWUTS};
constexpr std::uint64_t kLow32 = 0xffffffff;  // arguments of type int leave the upper half open

void must(int result, const std::string& what) {
  if (result < 0) throw TransportError("libseccomp: " + what + " failed with " + std::to_string(-result));
}

void add_rules(scmp_filter_ctx filter) {
  for (const char* name : kForbidden) {
    const int call = seccomp_syscall_resolve_name(name);
    if (call == __NR_SCMP_ERROR) continue;
    const int result = seccomp_rule_add(filter, SCMP_ACT_KILL_PROCESS, call, 0);
    if (result != -EDOM) must(result, name);
  }
  for (const std::uint64_t flag : kNamespaces) {
    must(seccomp_rule_add(filter, SCMP_ACT_KILL_PROCESS, SCMP_SYS(clone), 1, SCMP_A0(SCMP_CMP_MASKED_EQ, flag, flag)), "clone");
  }
  // Its flags are in memory, where a filter cannot look; the C library then falls back to clone.
  must(seccomp_rule_add(filter, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0), "clone3");
  must(seccomp_rule_add(filter, SCMP_ACT_KILL_PROCESS, SCMP_SYS(socket), 1, SCMP_A0(SCMP_CMP_NE, AF_UNIX)), "socket");
  for (const std::uint64_t target : {std::uint64_t{1}, kLow32}) {  // the sandbox's init, and everybody (-1)
    must(seccomp_rule_add(filter, SCMP_ACT_KILL_PROCESS, SCMP_SYS(kill), 1, SCMP_A0(SCMP_CMP_MASKED_EQ, kLow32, target)), "kill");
  }
}

}  // namespace

std::string seccomp_filter() {
  const std::unique_ptr<void, void (*)(scmp_filter_ctx)> filter(seccomp_init(SCMP_ACT_ALLOW), seccomp_release);
  if (!filter) throw TransportError("libseccomp: cannot make a filter");
  must(seccomp_attr_set(filter.get(), SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS), "the action for foreign calls");
  add_rules(filter.get());
  const FileDescriptor file(memfd_create("seccomp", MFD_CLOEXEC));
  if (!file) throw TransportError("cannot make a file in memory for the seccomp filter");
  must(seccomp_export_bpf(filter.get(), file.get()), "the export");
  std::string program(static_cast<std::size_t>(lseek(file.get(), 0, SEEK_END)), '\0');
  if (pread(file.get(), program.data(), program.size(), 0) != static_cast<ssize_t>(program.size())) {
    throw TransportError("cannot read the seccomp filter back");
  }
  return program;
}

}  // namespace troupe
