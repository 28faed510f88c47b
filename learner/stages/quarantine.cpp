#include "learner/stages/quarantine.h"

#include <fcntl.h>

#include <cerrno>
#include <cstring>
#include <span>

#include <nlohmann/json.hpp>

#include "common/base/error.h"
#include "common/base/files.h"

namespace troupe {

void write_quarantine(const RunFolder& folder, std::int64_t step, const std::vector<GroupRecord>& groups, const TrainStats& train) {
  nlohmann::ordered_json numbers = nlohmann::ordered_json::array();
  for (const GroupRecord& group : groups) numbers.push_back(group.group);
  const nlohmann::ordered_json json = {
      {"step", step}, {"groups", numbers}, {"tensor", train.bad_tensor}, {"updates", train.updates}, {"skipped", train.skipped}};
  const std::string line = json.dump() + "\n";
  const std::string path = folder.quarantine().string();
  const FileDescriptor fd(::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644));
  if (!fd) throw TransportError("cannot open " + path + ": " + std::strerror(errno));
  write_all(fd.get(), std::as_bytes(std::span(line)), path);
}

}  // namespace troupe
