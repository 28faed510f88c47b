#include "learner/stages/version_text.h"

#include <mpi.h>
#include <zmq.h>

#include <array>
#include <fstream>

#include <torch/csrc/api/include/torch/version.h>

#include "common/base/clock.h"
#include "common/base/text.h"
#include "common/config/run_folder.h"
#include "revision.h"  // made by the build: kRevision

namespace troupe {
namespace {

std::string cpu_model() {
  std::ifstream info("/proc/cpuinfo");
  for (std::string line; std::getline(info, line);) {
    if (line.starts_with("model name")) return std::string(trim(std::string_view(line).substr(line.find(':') + 1)));
  }
  return "unknown";
}

}  // namespace

std::string version_text() {
  int major = 0;
  int minor = 0;
  int patch = 0;
  zmq_version(&major, &minor, &patch);
  std::array<char, MPI_MAX_LIBRARY_VERSION_STRING> mpi{};
  int length = 0;
  MPI_Get_library_version(mpi.data(), &length);
  const std::string mpi_text(mpi.data(), static_cast<std::size_t>(length));
  return std::string("troupe ") + kRevision + "\nlibtorch " + TORCH_VERSION + "\nlibzmq " + std::to_string(major) + "." +
         std::to_string(minor) + "." + std::to_string(patch) + "\n" + mpi_text.substr(0, mpi_text.find(',')) + "\nhost " +
         host_name() + "\ncpu " + cpu_model() + "\nstarted " + utc_now() + "\n";
}

}  // namespace troupe
