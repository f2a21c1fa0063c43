// SPDX-License-Identifier: Apache-2.0
#include "plugins/boot/qemu-boot/boot_check.hpp"

#include <sys/socket.h>

#include <algorithm>

namespace hyperhost::qemu_boot {
namespace {

// A look stops the guest's processors for a moment. On a busy machine that moment is long, and the
// looks become rare, so that the guest gets most of the time.
constexpr auto kLookEvery = std::chrono::milliseconds(500),
               kLookLongest = std::chrono::milliseconds(5000);
constexpr auto kScreenEvery = std::chrono::seconds(2);
constexpr int kLookShare = 5, kScreenShare = 20;  // of the time, at most one part of so many
constexpr auto kAgentEvery = std::chrono::seconds(3);

bool by_guest(const nlohmann::json& event) {
  return event.value("/data/guest"_json_pointer, false);
}

}  // namespace

BootCheck::BootCheck(hyper::Op op, Guest& guest, const Settings& settings, CheckRequest request)
    : op_(op),
      guest_(guest),
      settings_(settings),
      request_(std::move(request)),
      evidence_(settings.expect) {}

uint64_t BootCheck::ms() const {
  return static_cast<uint64_t>(
      std::chrono::duration_cast<std::chrono::milliseconds>(Clock::now() - begin_).count());
}

void BootCheck::look_at_events(int wait_ms) {
  for (const nlohmann::json& event : guest_.qmp().events(op_, wait_ms)) {
    const std::string name = event.value("event", "");
    if (name == "RESET" && by_guest(event)) evidence_.reset(ms());
    if (name == "GUEST_PANICKED" || name == "GUEST_CRASHLOADED") evidence_.panicked(ms());
    if (name == "SHUTDOWN" && by_guest(event)) off_ = true;
    if (name == "STOP" &&
        guest_.qmp().call(op_, "query-status").value("status", "") == "internal-error")
      throw hyper::Error(HYPER_FAIL, "QEMU cannot run this guest any further (internal error)")
          .hint("with KVM, try options: {accel: tcg}");
    if (name != "BLOCK_IO_ERROR") continue;
    if (event.value("/data/nospace"_json_pointer, false))
      throw hyper::Error(HYPER_NOSPACE, "there is no space for what the guest writes")
          .hint("free some space below the plan's staging_dir, or choose another one");
    throw hyper::Error(HYPER_IO, "a disk of the guest cannot be read or written",
                       event.value("/data/reason"_json_pointer, ""));
  }
}

void BootCheck::look_at_screen() {
  const auto began = Clock::now();
  evidence_.screen(guest_.screen(op_), ms());
  evidence_.registers(guest_.qmp().human(op_, "info registers"), ms());
  screen_at_ = Clock::now();
  screen_took_ = screen_at_ - began;
}

/// Of an agent that does not run yet, the port keeps the question.
void BootCheck::ask_agent() {
  static const std::string question = "{\"execute\":\"guest-get-osinfo\"}\n";
  if (agent_at_ == Clock::time_point() || Clock::now() - agent_at_ > 10 * kAgentEvery) {
    static_cast<void>(
        ::send(agent_.get(), question.data(), question.size(), MSG_NOSIGNAL | MSG_DONTWAIT));
    agent_at_ = Clock::now();
  }
  char buffer[4096];
  const ssize_t got = ::recv(agent_.get(), buffer, sizeof buffer, MSG_DONTWAIT);
  if (got <= 0) return;
  agent_text_.append(buffer, static_cast<std::size_t>(got));
  for (std::size_t end = 0; (end = agent_text_.find('\n')) != std::string::npos;) {
    const auto said = nlohmann::json::parse(agent_text_.substr(0, end), nullptr, false);
    agent_text_.erase(0, end + 1);
    if (!said.is_object() || (!said.contains("return") && !said.contains("error"))) continue;
    const std::string system = said.contains("return") && said["return"].is_object()
                                   ? said["return"].value("pretty-name", std::string())
                                   : std::string();
    evidence_.agent(system.empty() ? "it answers" : system, ms());
  }
  if (agent_text_.size() > sizeof buffer) agent_text_.clear();
}

void BootCheck::look() {
  const auto wait = std::clamp<Clock::duration>(kLookShare * look_took_, kLookEvery, kLookLongest);
  look_at_events(
      static_cast<int>(std::chrono::duration_cast<std::chrono::milliseconds>(wait).count()));
  const auto began = Clock::now();
  evidence_.feed(Channel::kFirmware, guest_.console(op_, "firmware"), ms());
  evidence_.feed(Channel::kSerial, guest_.console(op_, "serial"), ms());
  if (Clock::now() - screen_at_ >
      std::max<Clock::duration>(kScreenEvery, kScreenShare * screen_took_))
    look_at_screen();
  if (evidence_.grade() >= Grade::kKernel) ask_agent();
  const auto [read, written] = guest_.moved(op_);
  op_.progress(read, 0, "boot");
  look_took_ = Clock::now() - began;
  if (settings_.max_written != 0 && written > settings_.max_written)
    throw hyper::Error(HYPER_NOSPACE, "the guest has written more than max_written allows",
                       std::to_string(written) + " bytes")
        .at("/max_written");
}

/// Presses the power button and waits. What goes wrong meanwhile counts.
void BootCheck::power_off() {
  guest_.qmp().call(op_, "system_powerdown");
  const auto end = Clock::now() + std::chrono::milliseconds(settings_.stop_timeout_ms);
  while (!off_ && evidence_.failed().empty() && Clock::now() < end) look();
}

nlohmann::json BootCheck::run() {
  begin_ = Clock::now();
  screen_at_ = begin_;
  try {
    agent_ = guest_.agent_port(op_);
    guest_.qmp().call(op_, "cont");
    while (!off_ && evidence_.failed().empty() && evidence_.grade() < request_.require &&
           ms() < request_.timeout_ms)
      look();
    look_at_screen();
    if (!request_.picture.empty()) picture_ = guest_.picture(op_, request_.picture);
    // A guest that is short of its services does not listen to the button. Whether it has them does
    // not always show.
    const Grade listens =
        request_.traces ? Grade::kKernel : std::max(request_.require, Grade::kLogin);
    if (evidence_.failed().empty() && !off_ && evidence_.grade() >= listens &&
        settings_.stop_timeout_ms != 0)
      power_off();
  } catch (const Qmp::Ended&) {
    throw hyper::Error(HYPER_FAIL, "QEMU ended while the guest was running",
                       "the guest's last grade was " + std::string(grade_name(evidence_.grade())))
        .hint("the kernel's log (dmesg) knows whether it ran out of memory");
  }
  return answer();
}

nlohmann::json BootCheck::answer() {
  nlohmann::json out{{"grade", grade_name(evidence_.grade())},
                     {"stopped", off_ ? "guest" : "off"},
                     {"ms", ms()},
                     {"console_tail", evidence_.tail()},
                     {"resets", evidence_.resets()},
                     {"reached", nlohmann::json::array()},
                     {"screens", nlohmann::json::array()}};
  for (const Reached& one : evidence_.reached())
    out["reached"].push_back(
        {{"grade", grade_name(one.grade)}, {"ms", one.ms}, {"evidence", one.evidence}});
  if (!evidence_.failed().empty()) {
    out["failed"] = evidence_.failed();
    out["failure"] = evidence_.failure();
  }
  if (!picture_.empty()) out["screens"].push_back(picture_);
  return out;
}

}  // namespace hyperhost::qemu_boot
