#include "learner/shard_map.h"

#include <ATen/Functions.h>  // before doctest: both define CHECK, the last one counts
#include <doctest/doctest.h>

#include <utility>

#include "common/base/error.h"
#include "tests/learner/tiny_model.h"

using namespace troupe;

namespace {

// Units of 1000, 3000 and 192 elements: the first two meet in block 0, the last two in block 3.
const std::vector<std::int64_t> kBounds = {0, 1000, 4000, 4192};

}  // namespace

TEST_SUITE("learner/shard_map") {
  TEST_CASE("parts are whole blocks from where the unit's first block begins, equally long on every rank") {
    const ShardMap map(kBounds, 2);

    CHECK(map.units()[0].origin == 0);
    CHECK(map.units()[0].part == 1024);  // one block for the first rank, padding for the second
    CHECK(map.units()[1].origin == 0);
    CHECK(map.units()[1].part == 2048);  // blocks 0 and 1, then 2 and 3
    CHECK(map.units()[1].place == 1024);
    CHECK(map.units()[2].origin == 3072);
    CHECK(map.units()[2].part == 1024);  // blocks 3 and 4
    CHECK(map.slice() == 4096);
    CHECK(map.meeting_blocks() == std::vector<std::int64_t>{0, 3});
  }

  TEST_CASE("pieces are what a rank has of the vector, and where") {
    const ShardMap map(kBounds, 2);
    const std::vector<ShardMap::Piece> first = map.pieces(0), second = map.pieces(1);

    REQUIRE(first.size() == 3);
    CHECK(first[0].begin == 0);
    CHECK(first[0].end == 1000);
    CHECK(first[1].begin == 1000);
    CHECK(first[1].end == 2048);
    CHECK(first[1].place == 1024 + 1000);
    CHECK(first[2].begin == 4000);
    CHECK(first[2].end == 4096);
    CHECK(first[2].place == 3072 + 928);
    REQUIRE(second.size() == 2);
    CHECK(second[0].begin == 2048);
    CHECK(second[0].end == 4000);
    CHECK(second[0].place == 1024);
    CHECK(second[1].begin == 4096);
    CHECK(second[1].end == 4192);
    CHECK(map.element(1, 1024 + 7) == 2055);
    CHECK(map.element(1, 5) == -1);
    CHECK(map.element(0, 1010) == 999);
  }

  TEST_CASE("the slices of any number of ranks put together are the vector, and their padding is zero") {
    const at::Tensor whole = at::arange(1, 4193, at::kFloat);
    for (const int ranks : {1, 2, 3, 4, 7}) {
      const ShardMap map(kBounds, ranks);
      at::Tensor found = at::zeros_like(whole);
      double sum = 0;
      for (int rank = 0; rank < ranks; ++rank) {
        const at::Tensor slice = map.slice_of(whole, rank);
        CHECK(slice.numel() == map.slice());
        sum += slice.sum(at::kDouble).item<double>();
        for (const ShardMap::Piece& piece : map.pieces(rank)) {
          found.narrow(0, piece.begin, piece.end - piece.begin).copy_(slice.narrow(0, piece.place, piece.end - piece.begin));
        }
      }
      CHECK(found.equal(whole));
      CHECK(sum == whole.sum(at::kDouble).item<double>());
    }
  }

  TEST_CASE("of a model that ranks hold together a block is shared out over those that have the same part, and its ends over all") {
    Architecture a = tiny_architecture();
    a.layers = 2;
    a.hidden = 32;
    a.intermediate = 48;
    a.heads = a.kv_heads = 4;
    const ParameterLayout layout(a);
    const at::Tensor whole = at::zeros({layout.total}, at::kFloat);
    for (const ParameterSpec& spec : layout.tensors) whole.narrow(0, spec.offset, spec.numel).copy_(at::arange(1 + spec.offset, 1 + spec.offset + spec.numel));
    for (const auto& [ranks, together] : {std::pair(2, 2), std::pair(4, 2), std::pair(6, 2), std::pair(4, 4)}) {
      const ShardMap map(a, ranks, together);
      CHECK(map.total() == layout.total);
      CHECK(map.units()[0].ranks == ranks);
      CHECK(map.units()[1].ranks == ranks / together);
      CHECK(map.units()[3].ranks == ranks);
      CHECK(map.units()[1].end - map.units()[1].begin < (layout.units[2] - layout.units[1]) / together + 2 * a.hidden);
      at::Tensor found = at::zeros_like(whole), times = at::zeros_like(whole);
      for (int rank = 0; rank < ranks; ++rank) {
        const at::Tensor slice = map.slice_of(whole, rank);
        std::int64_t last = 0;
        for (const ShardMap::Piece& piece : map.pieces(rank)) {
          const std::int64_t count = piece.end - piece.begin;
          CHECK(piece.begin >= std::exchange(last, piece.end));
          found.narrow(0, piece.begin, count).copy_(slice.narrow(0, piece.place, count));
          times.narrow(0, piece.begin, count).add_(1);
          CHECK(map.element(rank, piece.place) == piece.begin);
        }
      }
      CHECK(found.equal(whole));
      const auto times_of = [&](const char* name) { return times[layout.find(name).offset].item<float>(); };
      CHECK(times_of("model.embed_tokens.weight") == 1);
      CHECK(times_of("model.norm.weight") == 1);
      CHECK(times_of("model.layers.1.self_attn.o_proj.weight") == 1);
      CHECK(times_of("model.layers.1.input_layernorm.weight") == together);
    }
    CHECK_THROWS_AS(ShardMap(a, 3, 2), InternalError);
    CHECK_THROWS_AS(ShardMap(a, 8, 8), ConfigError);
  }

  TEST_CASE("units that end with a block do not meet, and several may meet in one") {
    CHECK(ShardMap({0, 2048, 4096}, 2).meeting_blocks().empty());
    CHECK(ShardMap({0, 10, 20, 3000}, 2).meeting_blocks() == std::vector<std::int64_t>{0});
    CHECK_THROWS_AS(ShardMap({0, 20, 10}, 2), InternalError);
    CHECK_THROWS_AS(ShardMap({16, 20}, 2), InternalError);
  }
}
