#include "common/model/model_offsets.h"

#include <string>

namespace troupe {

ModelOffsets::ModelOffsets(const ParameterLayout& layout, const Architecture& a) {
  const std::int64_t qkv_rows = (a.heads + 2 * a.kv_heads) * a.head_size;
  const auto at = [&](const std::string& name) { return layout.find(name).offset; };
  const auto joined = [&](const std::string& name, std::int64_t rows) { return layout.joined(name, rows); };
  embedding = at("model.embed_tokens.weight");
  final_norm = at("model.norm.weight");
  head = a.scores ? at("score.weight") : a.tied_embeddings ? embedding : at("lm_head.weight");
  for (std::int64_t layer = 0; layer < a.layers; ++layer) {
    const std::string block = "model.layers." + std::to_string(layer) + ".";
    blocks.push_back({at(block + "input_layernorm.weight"), joined(block + "self_attn.q_proj.weight", qkv_rows),
                      a.qkv_bias ? joined(block + "self_attn.q_proj.bias", qkv_rows) : -1,
                      a.qk_norm ? at(block + "self_attn.q_norm.weight") : -1,
                      a.qk_norm ? at(block + "self_attn.k_norm.weight") : -1,
                      at(block + "self_attn.o_proj.weight"), at(block + "post_attention_layernorm.weight"),
                      joined(block + "mlp.gate_proj.weight", 2 * a.intermediate), at(block + "mlp.down_proj.weight")});
  }
}

}  // namespace troupe
