#include "learner/gathered_units.h"

#include <ATen/Functions.h>

#include <algorithm>
#include <memory>
#include <span>
#include <utility>

#include "common/base/error.h"

namespace troupe {
namespace {

std::uint32_t version_of(const at::Tensor& tensor) { return tensor.unsafeGetTensorImpl()->version_counter().current_version(); }

}  // namespace

GatheredUnits::GatheredUnits(ShardMap map, at::Tensor slice, Communicator& communicator)
    : map_(std::move(map)), slice_(std::move(slice)), communicator_(communicator), version_(version_of(slice_)) {
  check(slice_.is_cpu() && slice_.is_contiguous() && slice_.numel() == map_.slice(), "units are gathered of slices on the CPU");
}

GatheredUnits::~GatheredUnits() {
  for (const Held& held : held_) {
    if (held.arrival.valid()) held.arrival.wait();  // it writes into the buffer; no longer than the patience with the peers
  }
}

GatheredUnits::Held* GatheredUnits::find(std::int64_t number) {
  const auto found = std::find_if(held_.begin(), held_.end(), [&](const Held& held) { return held.number == number; });
  return found == held_.end() ? nullptr : &*found;
}

GatheredUnits::Held& GatheredUnits::fetch(std::int64_t number) {
  Held& held = *std::min_element(held_.begin(), held_.end(), [](const Held& a, const Held& b) { return a.taken < b.taken; });
  if (held.arrival.valid()) held.arrival.get();
  const ShardMap::Unit& unit = map_.units()[static_cast<std::size_t>(number)];
  held.number = number;
  held.taken = calls_;
  if (!held.padded.defined() || held.padded.numel() != unit.padded(map_.ranks())) {
    held.padded = at::Tensor();  // first the old memory goes back
    held.padded = at::empty({unit.padded(map_.ranks())}, slice_.options());
  }
  const at::Tensor own = slice_.narrow(0, unit.place, unit.part), all = held.padded;
  held.arrival = communicator_.start([this, own, all] {
    communicator_.all_gather({static_cast<const std::byte*>(own.const_data_ptr()), own.nbytes()},
                             {static_cast<std::byte*>(all.mutable_data_ptr()), all.nbytes()}, "a unit's parameters");
  });
  return held;
}

void GatheredUnits::let_go() {
  for (Held& held : held_) {
    if (held.arrival.valid()) held.arrival.get();
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
  held->arrival.get();
  const ShardMap::Unit& unit = map_.units()[static_cast<std::size_t>(number)];
  return held->padded.narrow(0, unit.begin - unit.origin, unit.end - unit.begin);
}

Parameters sharded_parameters(const Architecture& architecture, at::ScalarType dtype, Communicator& communicator) {
  const ShardMap map(ParameterLayout(architecture).units, communicator.size());
  const at::Tensor slice = at::zeros({map.slice()}, dtype);
  return Parameters(architecture, slice, std::make_shared<GatheredUnits>(map, slice, communicator));
}

at::Tensor whole_of(const Parameters& parameters, const Communicator& communicator) {
  if (!parameters.sharded()) return parameters.flat().cpu();
  const std::vector<std::int64_t>& units = parameters.layout().units;
  at::Tensor whole;
  if (communicator.rank() == 0) whole = at::empty({parameters.layout().total}, parameters.flat().options());
  const std::int64_t count = std::ssize(units) - 1;
  for (std::int64_t number = 0; number < count; ++number) {
    const at::Tensor unit = parameters.unit(number, number + 1 < count ? number + 1 : -1);
    if (whole.defined()) whole.narrow(0, units[static_cast<std::size_t>(number)], unit.numel()).copy_(unit);
  }
  return whole;
}

void set_from_whole_(const Parameters& parameters, const at::Tensor& whole, const Communicator& communicator) {
  if (!parameters.sharded()) {
    parameters.flat().copy_(whole);
    return;
  }
  const ShardMap map(parameters.layout().units, communicator.size());
  parameters.flat().copy_(map.slice_of(whole, communicator.rank()));
}

}  // namespace troupe
