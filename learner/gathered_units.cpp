#include "learner/gathered_units.h"

#include <ATen/Functions.h>

#include <algorithm>
#include <cstddef>
#include <optional>
#include <utility>

#include "common/base/error.h"
#include "common/model/tensor_cut.h"
#include "learner/device_ranks.h"

namespace troupe {
namespace {

std::uint32_t version_of(const at::Tensor& tensor) { return tensor.unsafeGetTensorImpl()->version_counter().current_version(); }

std::int64_t units_of(const ParameterLayout& layout) { return std::ssize(layout.units) - 1; }

at::Tensor unit_of(const at::Tensor& flat, const ParameterLayout& layout, std::int64_t number) {
  const std::int64_t begin = layout.units[static_cast<std::size_t>(number)];
  return flat.narrow(0, begin, layout.units[static_cast<std::size_t>(number) + 1] - begin);
}

/// Of parts of a model, which the group that has rank 0 puts together.
at::Tensor put_together(const Parameters& parameters, const Communicator& communicator) {
  const TensorCut& cut = *parameters.cut();
  if (communicator.rank() >= cut.group().size()) return {};
  at::Tensor whole;
  if (communicator.rank() == 0) whole = at::zeros({parameters.whole_layout().total}, parameters.flat().options().device(at::kCPU));
  for (std::int64_t number = 0; number < units_of(parameters.layout()); ++number) {
    const at::Tensor parts = cut.group().gather(parameters.unit(number));
    if (!whole.defined()) continue;
    for (int rank = 0; rank < cut.group().size(); ++rank) cut.put_(number, parts.select(0, rank), rank, unit_of(whole, parameters.whole_layout(), number));
  }
  return whole;
}

constexpr const char* kGathered = "a unit's parameters";

void gather(const at::Tensor& own, const at::Tensor& all, Communicator& communicator) {
  communicator.all_gather({static_cast<const std::byte*>(own.const_data_ptr()), own.nbytes()},
                          {static_cast<std::byte*>(all.mutable_data_ptr()), all.nbytes()}, kGathered);
}

class HostGatherer final : public UnitGatherer {
 public:
  explicit HostGatherer(Communicator& communicator) : communicator_(communicator) {}

  std::function<void()> start(const at::Tensor& own, const at::Tensor& all) override {
    const std::shared_future<void> done = communicator_.start([&communicator = communicator_, own, all] { gather(own, all, communicator); });
    return [done] { done.get(); };
  }

 private:
  Communicator& communicator_;
};

class DeviceGatherer final : public UnitGatherer {
 public:
  explicit DeviceGatherer(Communicator& communicator) : communicator_(communicator) {}

  std::function<void()> start(const at::Tensor& own, const at::Tensor& all) override {
    if (!ranks_) ranks_ = nccl_ranks(communicator_);
    if (DeviceRanks* const ranks = ranks_->get()) {
      if (!std::exchange(under_way_, true)) ranks->meet();
      return ranks->start_all_gather(own, all, kGathered);
    }
    const at::Tensor on_cpu = at::empty(all.sizes(), all.options().device(at::kCPU));
    gather(own.cpu(), on_cpu, communicator_);
    all.copy_(on_cpu);
    return {};
  }

  void settle() override {
    if (std::exchange(under_way_, false)) (*ranks_)->wait();
  }

 private:
  Communicator& communicator_;
  std::optional<std::unique_ptr<DeviceRanks>> ranks_;  // null: they share a GPU
  bool under_way_ = false;                             // since the last settle
};

}  // namespace

std::unique_ptr<UnitGatherer> unit_gatherer(at::Device device, Communicator& communicator) {
  if (device.is_cpu()) return std::make_unique<HostGatherer>(communicator);
  return std::make_unique<DeviceGatherer>(communicator);
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
  if (!held.padded.defined() || held.padded.numel() != unit.padded(map_.ranks())) {
    held.padded = at::Tensor();  // first the old memory goes back
    held.padded = at::empty({unit.padded(map_.ranks())}, slice_.options());
  }
  held.arrive = gatherer_->start(slice_.narrow(0, unit.place, unit.part), held.padded);
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
  Held* held = find(number);
  if (held == nullptr) held = &fetch(number);
  held->taken = calls_;
  if (next >= 0 && find(next) == nullptr) fetch(next);
  await(*held);
  const ShardMap::Unit& unit = map_.units()[static_cast<std::size_t>(number)];
  return held->padded.narrow(0, unit.begin - unit.origin, unit.end - unit.begin);
}

Parameters sharded_parameters(const Architecture& architecture, at::ScalarType dtype, Communicator& communicator, at::Device device) {
  const ShardMap map(ParameterLayout(architecture).units, communicator.size());
  const at::Tensor slice = at::zeros({map.slice()}, at::TensorOptions(dtype).device(device));
  return Parameters(architecture, slice, std::make_shared<GatheredUnits>(map, slice, unit_gatherer(device, communicator)));
}

at::Tensor whole_of(const Parameters& parameters, const Communicator& communicator) {
  if (parameters.cut() != nullptr) return put_together(parameters, communicator);
  if (!parameters.sharded()) return parameters.flat().cpu();
  at::Tensor whole;
  if (communicator.rank() == 0) whole = at::empty({parameters.layout().total}, parameters.flat().options().device(at::kCPU));
  const std::int64_t count = units_of(parameters.layout());
  for (std::int64_t number = 0; number < count; ++number) {
    const at::Tensor unit = parameters.unit(number, number + 1 < count ? number + 1 : -1);
    parameters.settle();
    if (whole.defined()) unit_of(whole, parameters.layout(), number).copy_(unit);
  }
  return whole;
}

void set_from_whole_(const Parameters& parameters, const at::Tensor& whole, const Communicator& communicator) {
  if (!parameters.sharded()) {
    const ParameterLayout& layout = parameters.whole_layout();
    for (std::int64_t number = 0; number < units_of(layout); ++number) parameters.set_unit_(number, unit_of(whole, layout, number));
    return;
  }
  const ShardMap map(parameters.layout().units, communicator.size());
  parameters.flat().copy_(map.slice_of(whole, communicator.rank()));
}

}  // namespace troupe
