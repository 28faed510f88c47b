#pragma once

#include <nlohmann/json.hpp>

#include "common/messages/messages.h"

namespace troupe {

/// {"reward": number or null, "components": {name: {"value", "reason", "ms"}}}: `troupe grade`'s output and the verifier's.
nlohmann::ordered_json score_to_json(const Score& score);

/// The reverse. @throws ProtocolError naming the field.
Score score_from_json(const nlohmann::ordered_json& json);

}  // namespace troupe
