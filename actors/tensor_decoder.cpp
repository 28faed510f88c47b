#include "actors/tensor_decoder.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "common/base/error.h"
#include "common/model/tensor_cut.h"

namespace troupe {
namespace {

class TensorDecoder final : public Decoder {
 public:
  TensorDecoder(const Parameters& whole, int count, DecoderRanks make) : ranks_(count), members_(static_cast<std::size_t>(count)) {
    ranks_.run([&](int rank) {
      Member& member = at(rank);
      member.cut = std::make_shared<TensorCut>(whole.architecture(), make.group(ranks_, rank));
      member.decoder = make.decoder(part_of(whole, member));
    });
  }

  ~TensorDecoder() override {
    try {
      ranks_.run([&](int rank) { at(rank).decoder.reset(); });  // where what it holds was made
    } catch (const Error&) {  // a rank has failed, which was told
    }
  }

  void begin(const ForwardPlan& plan, std::span<const Draw> draws, std::uint64_t version) override {
    ranks_.run([&](int rank) { at(rank).decoder->begin(plan, draws, version); });
  }

  void finish(std::span<DrawnToken> drawn) override {
    ranks_.run([&](int rank) {
      Member& member = at(rank);
      member.drawn.resize(drawn.size());
      member.decoder->finish(member.drawn);
    });
    for (const Member& member : members_)
      check(member.drawn == members_[0].drawn, "ranks that hold one model draw the same tokens");
    std::ranges::copy(members_[0].drawn, drawn.begin());
  }

  bool may_run_ahead() const override { return members_[0].decoder->may_run_ahead(); }

  void set_weights(Parameters whole) override {
    ranks_.run([&](int rank) { at(rank).decoder->set_weights(part_of(whole, at(rank))); });
  }

 private:
  struct Member {
    std::shared_ptr<const TensorCut> cut;  // shared with its parts of the versions
    std::unique_ptr<Decoder> decoder;
    std::vector<DrawnToken> drawn;
  };
  Member& at(int rank) { return members_[static_cast<std::size_t>(rank)]; }

  /// Where the whole lies.
  static Parameters part_of(const Parameters& whole, const Member& member) {
    Parameters part(member.cut, whole.flat().scalar_type(), whole.flat().device());
    const auto units = std::ssize(whole.layout().units) - 1;
    for (std::int64_t unit = 0; unit < units; ++unit) part.set_unit_(unit, whole.unit(unit));
    return part;
  }

  ThreadRanks ranks_;
  std::vector<Member> members_;
};

}  // namespace

std::unique_ptr<Decoder> make_tensor_decoder(const Parameters& whole, int count, DecoderRanks make) {
  return std::make_unique<TensorDecoder>(whole, count, std::move(make));
}

std::unique_ptr<Decoder> make_host_tensor_decoder(const Parameters& whole, int count, std::int64_t pages, std::int64_t slots) {
  return make_tensor_decoder(whole, count,
                             {[](ThreadRanks& ranks, int rank) { return ranks.group(rank); },
                              [=](Parameters part) { return make_host_decoder(std::move(part), pages, slots); }});
}

}  // namespace troupe
