#include <algorithm>
#include <bit>
#include <limits>

#include "common/base/checksum.h"
#include "common/base/error.h"
#include "common/messages/messages.h"
#include "common/messages/wire.h"

namespace troupe {
namespace {

static_assert(std::endian::native == std::endian::little, "the content hash is of little-endian bytes");

/// The count, so that elements cannot move from one array to the next unseen, then the bytes.
template <class T>
void add(Hasher& hasher, const std::vector<T>& values) {
  hasher.update_u64(values.size());
  hasher.update(std::as_bytes(std::span(values)));
}

void add(Hasher& hasher, const std::optional<double>& value) {
  hasher.update_u64(value ? 1 : 0);
  hasher.update_u64(value ? std::bit_cast<std::uint64_t>(*value) : 0);
}

}  // namespace

std::string content_hash(const GroupRecord& record) {
  Hasher hasher;
  add(hasher, record.prompt_ids);
  hasher.update_u64(record.completions.size());
  for (const Completion& completion : record.completions) {
    add(hasher, completion.token_ids);
    add(hasher, completion.logprobs);
    add(hasher, completion.versions);
    hasher.update_u64(static_cast<std::uint64_t>(completion.finish_reason));
  }
  hasher.update_u64(record.scores.size());
  for (const Score& score : record.scores) {
    add(hasher, score.reward);
    hasher.update_u64(score.components.size());
    for (const RewardComponent& component : score.components) add(hasher, component.value);
  }
  return hasher.hex();
}

std::uint64_t lowest_version(const GroupRecord& record) {
  std::uint64_t lowest = std::numeric_limits<std::uint64_t>::max();
  bool found = false;
  for (const Completion& completion : record.completions) {
    for (const std::uint64_t version : completion.versions) {
      lowest = std::min(lowest, version);
      found = true;
    }
  }
  check(found, "lowest_version of a group without tokens");
  return lowest;
}

std::string serialize_record(const GroupRecord& record) {
  std::string body;
  wire::write(body, record);
  return body;
}

GroupRecord deserialize_record(std::string_view bytes) {
  GroupRecord record = wire::read<GroupRecord>(std::as_bytes(std::span(bytes.data(), bytes.size())));
  record.validate();
  return record;
}

}  // namespace troupe
