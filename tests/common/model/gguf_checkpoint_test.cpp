#include "common/model/gguf_checkpoint.h"

#include <ATen/ATen.h>
#include <doctest/doctest.h>

#include <bit>
#include <cmath>
#include <filesystem>
#include <string>

#include "common/base/error.h"
#include "common/model/safetensors.h"
#include "common/model/transformer.h"
#include "tests/common/rollout_log/scratch_folder.h"

// GGUF files and what the reference reads in them: tests/parity/make_gguf_goldens.py.

namespace fs = std::filesystem;
using namespace troupe;

namespace {

const fs::path kGolden = fs::path(TROUPE_TEST_DATA) / "parity/gguf";

/// The bytes of qwen3.gguf with one text replaced by another of the same length.
struct Fixture {
  ScratchFolder folder;
  void check_refused(const std::string& from, const std::string& to, const char* part_of_message) {
    std::string bytes = slurp(kGolden / "qwen3.gguf");
    const std::size_t at = bytes.find(from);
    CHECK(from.size() == to.size());
    CHECK(at != std::string::npos);
    spill(folder / "m.gguf", bytes.replace(at, from.size(), to));
    CHECK_THROWS_WITH_AS(load_gguf(GgufFile(folder / "m.gguf"), at::kFloat), doctest::Contains(part_of_message), ConfigError);
    CHECK_THROWS_WITH_AS(load_gguf(GgufFile(folder / "m.gguf"), at::kFloat), doctest::Contains("m.gguf"), ConfigError);
  }
};

}  // namespace

TEST_SUITE("model/gguf_checkpoint") {
  TEST_CASE("blocks of every type are dequantized to the reference's bits") {
    const GgufFile file(kGolden / "types.gguf");
    const auto expected = read_safetensors(kGolden / "types.safetensors");
    CHECK(file.tensors().size() == 8);
    for (const auto& [name, tensor] : file.tensors()) {
      CAPTURE(name);
      at::Tensor found = at::empty(tensor.shape, at::kFloat);
      dequantize(tensor.type, tensor.bytes, {found.mutable_data_ptr<float>(), static_cast<std::size_t>(tensor.elements)});
      CHECK(found.view(at::kInt).equal(expected.at(name).view(at::kInt)));  // signs of zeros too
    }
  }

  TEST_CASE("half precision numbers are those of ATen, all of them") {
    for (std::uint32_t bits = 0; bits < 65536; ++bits) {
      const float expected = static_cast<float>(at::Half(static_cast<std::uint16_t>(bits), at::Half::from_bits()));
      const float found = half_to_float(static_cast<std::uint16_t>(bits));
      if (std::isnan(expected) ? !std::isnan(found) : std::bit_cast<std::uint32_t>(found) != std::bit_cast<std::uint32_t>(expected)) {
        FAIL_CHECK("bits " << bits << ": expected " << expected << ", found " << found);
      }
    }
  }

  TEST_CASE("a file of each family gives the logits that transformers computes with its dequantized weights") {
    for (const char* name : {"yarn_rope", "qwen2", "qwen3"}) {
      CAPTURE(name);
      const Transformer model(load_gguf(GgufFile(kGolden / (std::string(name) + ".gguf")), at::kFloat));
      const auto golden = read_safetensors(kGolden / (std::string(name) + ".safetensors"));
      const at::Tensor ids = golden.at("ids").clone();

      const at::Tensor logits = model.logits(model.forward({ids, {0, ids.numel()}}, nullptr));

      CHECK((logits.slice(0, 0, ids.numel(), 8) - golden.at("logits")).abs().max().item<double>() < 2e-5);
    }
  }

  TEST_CASE("the architecture comes from keys and tensors") {
    const Architecture a = gguf_architecture(GgufFile(kGolden / "yarn_rope.gguf"));
    CHECK(a.model_type == "llama");
    CHECK(a.vocabulary == 448);
    CHECK(a.head_size == 8);
    CHECK(a.rms_eps == 1e-5);
    CHECK_FALSE(a.tied_embeddings);
    CHECK(a.eos_ids == std::vector<std::int32_t>{401});
    CHECK(a.bos_id == 400);
    CHECK(a.rope_scaling.factor == 8.0);
    CHECK(a.rope_scaling.original_positions == 32.0);
    const Architecture qwen3 = gguf_architecture(GgufFile(kGolden / "qwen3.gguf"));
    CHECK(qwen3.tied_embeddings);
    CHECK(qwen3.head_size == 16);
    CHECK(qwen3.rope_scaling == RopeScaling());
  }

  TEST_CASE_FIXTURE(Fixture, "what is missing, extra or unknown is refused by key or tensor") {
    check_refused("qwen3", "gemma", "key \"general.architecture\": expected llama, qwen2 or qwen3, found \"gemma\"");
    check_refused("qwen3.block_count", "qwen3.blocks_many", "key \"qwen3.block_count\" is missing");
    check_refused("blk.1.attn_k_norm.weight", "blk.1.attn_k_nrom.weight", "tensor \"blk.1.attn_k_norm.weight\" is missing");
    check_refused("token_embd.weight", "token_embb.weight", "tensor \"token_embd.weight\" is missing");
    // the file has no output.weight, so that its head is the embedding; a foreign name makes two tensors wrong, the missing one is told
    check_refused("output_norm.weight", "output_mean.weight", "tensor \"output_norm.weight\" is missing");
  }
}
