#include "learner/gathered_units.h"

#include <ATen/Functions.h>

#include <algorithm>
#include <cstddef>
#include <optional>
#include <utility>

#include "common/base/error.h"

namespace troupe {
namespace {

std::uint32_t version_of(const at::Tensor& tensor) { return tensor.unsafeGetTensorImpl()->version_counter().current_version(); }

std::int64_t units_of(const ParameterLayout& layout) { return std::ssize(layout.units) - 1; }

at::Tensor unit_of(const at::Tensor& flat, const ParameterLayout& layout, std::int64_t number) {
  const std::int64_t begin = layout.units[static_cast<std::size_t>(number)];
  return flat.narrow(0, begin, layout.units[static_cast<std::size_t>(number) + 1] - begin);
}

/// Copies a unit of this rank's part, and those of the ranks that hold the model with it, to `whole`, a unit of the whole model, where that
/// is defined. Collective in the group of rank 0; the others have nothing to do.
void put_together(const TensorCut& cut, std::int64_t number, const at::Tensor& unit, const at::Tensor& whole,
                  const Communicator& communicator) {
  if (communicator.rank() >= cut.group().size()) return;
  const at::Tensor parts = cut.group().gather(unit);
  if (!whole.defined()) return;
  for (int rank = 0; rank < cut.group().size(); ++rank) cut.put_(number, parts.select(0, rank), rank, whole);
}

constexpr const char* kGathered = "a unit's parameters";

void gather(const at::Tensor& own, const at::Tensor& all, Communicator& communicator) {
  communicator.all_gather({static_cast<const std::byte*>(own.const_data_ptr()), own.nbytes()},
                          {static_cast<std::byte*>(all.mutable_data_ptr()), all.nbytes()}, kGathered);
}

class HostGatherer final : public UnitGatherer {
 public:
  explicit HostGatherer(const ShardRanks& ranks) : ranks_(ranks) {}

  std::function<void()> start(const ShardMap::Unit& unit, const at::Tensor& own, const at::Tensor& all) override {
    Communicator& communicator = ranks_.of(unit);
    const std::shared_future<void> done = communicator.start([&communicator, own, all] { gather(own, all, communicator); });
    return [done] { done.get(); };
  }

 private:
  ShardRanks ranks_;
};

class DeviceGatherer final : public UnitGatherer {
 public:
  explicit DeviceGatherer(const ShardRanks& ranks) : ranks_(ranks), devices_(ranks) {}

  std::function<void()> start(const ShardMap::Unit& unit, const at::Tensor& own, const at::Tensor& all) override {
    if (DeviceRanks* const devices = devices_.of(unit)) return devices->start_all_gather(own, all, kGathered);
    const at::Tensor on_cpu = at::empty(all.sizes(), all.options().device(at::kCPU));
    gather(own.cpu(), on_cpu, ranks_.of(unit));
    all.copy_(on_cpu);
    return {};
  }

  void settle() override { devices_.settle(); }

 private:
  ShardRanks ranks_;
  ShardDevices devices_;
};

}  // namespace

std::unique_ptr<UnitGatherer> unit_gatherer(at::Device device, const ShardRanks& ranks) {
  if (device.is_cpu()) return std::make_unique<HostGatherer>(ranks);
  return std::make_unique<DeviceGatherer>(ranks);
}

GatheredUnits::GatheredUnits(ShardMap map, at::Tensor slice, std::unique_ptr<UnitGatherer> gatherer)
    : map_(std::move(map)), slice_(std::move(slice)), gatherer_(std::move(gatherer)), version_(version_of(slice_)) {
  check(slice_.is_contiguous() && slice_.numel() == map_.slice(), "units are gathered of this rank's slice");
}

void GatheredUnits::await(Held& held) {
  if (held.arrive) std::exchange(held.arrive, nullptr)();
}

GatheredUnits::Held* GatheredUnits::find(std::int64_t number) {
  const auto found = std::find_if(held_.begin(), held_.end(), [&](const Held& held) { return held.number == number; });
  return found == held_.end() ? nullptr : &*found;
}

GatheredUnits::Held& GatheredUnits::fetch(std::int64_t number) {
  Held& held = *std::min_element(held_.begin(), held_.end(), [](const Held& a, const Held& b) { return a.taken < b.taken; });
  await(held);
  const ShardMap::Unit& unit = map_.units()[static_cast<std::size_t>(number)];
  held.number = number;
  held.taken = calls_;
  if (!held.padded.defined() || held.padded.numel() != unit.padded()) {
    held.padded = at::Tensor();  // first the old memory goes back
    held.padded = at::empty({unit.padded()}, slice_.options());
  }
  held.arrive = gatherer_->start(unit, slice_.narrow(0, unit.place, unit.part), held.padded);
  return held;
}

void GatheredUnits::let_go() {
  for (Held& held : held_) {
    await(held);
    held.number = -1;
    held.taken = 0;
  }
}

at::Tensor GatheredUnits::take(std::int64_t number, std::int64_t next) {
  if (const std::uint32_t version = version_of(slice_); version != version_) {
    let_go();
    version_ = version;
  }
  ++calls_;
  const auto unit_of = [&](std::int64_t which) -> const ShardMap::Unit& { return map_.units()[static_cast<std::size_t>(which)]; };
  const auto at_hand = [&](std::int64_t which) { return unit_of(which).ranks == 1 || find(which) != nullptr; };
  if (!at_hand(number)) fetch(number);
  Held* const held = find(number);
  if (held != nullptr) held->taken = calls_;
  if (next >= 0 && !at_hand(next)) fetch(next);
  if (held != nullptr) await(*held);
  const ShardMap::Unit& unit = unit_of(number);
  const at::Tensor padded = held != nullptr ? held->padded : slice_.narrow(0, unit.place, unit.part);
  return padded.narrow(0, unit.begin - unit.origin, unit.end - unit.begin);
}

Parameters sharded_parameters(const Architecture& architecture, at::ScalarType dtype, const ShardRanks& ranks, at::Device device) {
  const ShardMap map(ParameterLayout(architecture).units, ranks.all().size());
  const at::Tensor slice = at::zeros({map.slice()}, at::TensorOptions(dtype).device(device));
  return Parameters(architecture, slice, std::make_shared<GatheredUnits>(map, slice, unit_gatherer(device, ranks)));
}

Parameters sharded_parameters(std::shared_ptr<const TensorCut> cut, at::ScalarType dtype, const ShardRanks& ranks, at::Device device) {
  const ShardMap map(cut->whole(), ranks.all().size(), cut->group().size());
  const at::Tensor slice = at::zeros({map.slice()}, at::TensorOptions(dtype).device(device));
  return Parameters(cut->part(), slice, std::make_shared<GatheredUnits>(map, slice, unit_gatherer(device, ranks)), cut);
}

at::Tensor whole_of(const Parameters& parameters, const Communicator& communicator) {
  const TensorCut* const cut = parameters.cut();
  if (!parameters.sharded() && cut == nullptr) return parameters.flat().cpu();
  at::Tensor whole;
  if (communicator.rank() == 0) whole = at::zeros({parameters.whole_layout().total}, parameters.flat().options().device(at::kCPU));
  const std::int64_t count = units_of(parameters.layout());
  for (std::int64_t number = 0; number < count; ++number) {
    const at::Tensor unit = parameters.unit(number, number + 1 < count ? number + 1 : -1);
    parameters.settle();
    const at::Tensor target = whole.defined() ? unit_of(whole, parameters.whole_layout(), number) : at::Tensor();
    if (cut != nullptr) {
      put_together(*cut, number, unit, target, communicator);
    } else if (target.defined()) {
      target.copy_(unit);
    }
  }
  return whole;
}

void copy_(const Parameters& from, const Parameters& to) {
  if (!from.sharded() || to.sharded()) {
    to.flat().copy_(from.flat());
    return;
  }
  for (std::int64_t number = 0; number < units_of(to.layout()); ++number) {
    const at::Tensor unit = from.unit(number);
    from.settle();
    to.unit(number).copy_(unit);
  }
}

void set_from_whole_(const Parameters& parameters, const at::Tensor& whole, const Communicator& communicator) {
  if (!parameters.sharded()) {
    const ParameterLayout& layout = parameters.whole_layout();
    for (std::int64_t number = 0; number < units_of(layout); ++number) parameters.set_unit_(number, unit_of(whole, layout, number));
    return;
  }
  parameters.flat().copy_(shard_map_of(parameters, communicator.size()).slice_of(whole, communicator.rank()));
}

}  // namespace troupe
