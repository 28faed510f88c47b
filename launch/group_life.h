#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "common/config/run_folder.h"
#include "learner/hub/ledger.h"

namespace troupe {

/// One group's life as the ledger and the rollout log have it: {"group", "purpose", "state", "why" (of a refusal), "step",
/// "life": [{"event", "at", the peer, …}], "row", "prompt", "completions": [{"sample", "tokens", "finish_reason",
/// "versions": [{"from", "to", "version"}], "reward", "components", "advantage", "text"}]}. What is not there (yet) is left
/// out: completions before they are scored or once they are pruned, the advantage of a group that no step chose.
/// With `evaluation` it is the held-out row `group` in the evaluation of that version. Reads only.
/// @throws ConfigError where there is no such group, saying which there are.
nlohmann::ordered_json group_life(const RunFolder& folder, const LedgerState& state, std::uint64_t group,
                                  std::optional<std::uint64_t> evaluation);

/// The same for people.
std::string group_life_text(const nlohmann::ordered_json& life);

}  // namespace troupe
