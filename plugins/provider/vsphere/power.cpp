// SPDX-License-Identifier: Apache-2.0
#include "power.hpp"

#include <algorithm>

namespace hyper::vsphere {
namespace {

std::string power_state(Session& session, const Ref& vm, const http::Cancel& cancel) {
  const std::string what = "cannot read the VM's power state";
  return power_word(retrieve_one(session, vm, {"runtime.powerState"}, what, cancel)
                        .object.required("runtime.powerState", what));
}

}  // namespace

PowerChange::PowerChange(Session& session, VmInfo& vm, const std::string& task_id,
                         const VmOptions& options, Op op)
    : session_(session), vm_(vm.ref), vm_name_(vm.name), restore_(options.restore_power) {
  using Power = VmOptions::Power;
  debt_ = Debt::taken_over(session, "power", vm.ref, op);
  if (debt_) restore_ = restore_ || debt_->flag("restore");
  if (vm.power == "off" || options.power == Power::kAsIs) return;
  if (options.power == Power::kRequireOff)
    throw Error(HYPER_FAIL, "'" + vm.name + "' is not powered off", "it is " + vm.power)
        .hint("Power it off, or choose power: shutdown or as-is.")
        .at("vm/" + vm.name);
  if (vm.power == "suspended")
    throw Error(HYPER_FAIL, "'" + vm.name + "' is suspended and cannot be shut down")
        .hint("Resume it, or choose power: as-is.")
        .at("vm/" + vm.name);
  if (!debt_)
    debt_.emplace(session, "power", vm.ref, task_id, op,
                  nlohmann::ordered_json{{"was", vm.power}, {"restore", restore_}});
  try {
    shut_down(vm, options, op);
  } catch (...) {
    end(false, op);
    throw;
  }
}

void PowerChange::shut_down(VmInfo& vm, const VmOptions& options, Op op) {
  const std::string what = "cannot shut down the guest of '" + vm.name + "'";
  std::string why;
  try {
    session_.call("ShutdownGuest", vm.ref, {}, what, op);
    const std::chrono::nanoseconds limit(options.shutdown_timeout_ns);
    if (wait_until_off(vm.ref, limit, op)) {
      vm.power = "off";
      return;
    }
    why = "it did not within " +
          std::to_string(std::chrono::duration_cast<std::chrono::seconds>(limit).count()) + " s";
  } catch (const Fault& fault) {
    if (fault.is("InvalidPowerState") && power_state(session_, vm.ref, op) == "off") {
      vm.power = "off";
      return;
    }
    if (!options.power_off_at_last) throw;
    why = fault.detail();
  }
  if (!options.power_off_at_last)
    throw Error(HYPER_FAIL, "the guest of '" + vm.name + "' does not shut down", why)
        .hint(
            "Give it more time (shutdown_timeout), shut it down by hand, or set "
            "shutdown_fallback: power-off.")
        .at("vm/" + vm.name);
  op.warn(Error(HYPER_FAIL, "'" + vm.name + "' is powered off without its guest's consent", why)
              .at("vm/" + vm.name));
  try {
    run_task(session_, "PowerOffVM_Task", vm.ref, {}, "cannot power off '" + vm.name + "'", op);
  } catch (const Fault& fault) {
    if (!fault.is("InvalidPowerState") || power_state(session_, vm.ref, op) != "off") throw;
  }
  vm.power = "off";
}

bool PowerChange::wait_until_off(const Ref& vm, std::chrono::nanoseconds limit, Op op) {
  const auto until = std::chrono::steady_clock::now() + limit;
  std::chrono::nanoseconds wait = std::chrono::milliseconds(100);
  for (;;) {
    if (power_state(session_, vm, op) == "off") return true;
    const auto left = until - std::chrono::steady_clock::now();
    if (left.count() <= 0) return false;
    pause(std::min<std::chrono::nanoseconds>(wait, left), op);
    wait = std::min<std::chrono::nanoseconds>(wait * 2, std::chrono::seconds(2));
  }
}

void PowerChange::end(bool success, Op op) {
  if (!debt_) return;
  if (!success && restore_) {
    power_on(session_, vm_, http::Cancel::never());
    op.note(Error(HYPER_OK, "'" + vm_name_ + "' is powered on again").at("vm/" + vm_name_));
  }
  debt_->settle(op);
}

void power_on(Session& session, const Ref& vm, const http::Cancel& cancel) {
  const std::string what = "cannot power the VM on again";
  while_busy(std::chrono::minutes(5), cancel, [&] {
    if (power_state(session, vm, cancel) == "on") return;
    try {
      run_task(session, "PowerOnVM_Task", vm, {}, what, cancel);
    } catch (const Fault& fault) {
      if (!fault.is("InvalidPowerState") || power_state(session, vm, cancel) != "on") throw;
    }
  });
}

}  // namespace hyper::vsphere
