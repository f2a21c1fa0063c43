// SPDX-License-Identifier: Apache-2.0
#include "hosts/hyperhost/disk_screen.hpp"

#include <unistd.h>

#include <nlohmann/json.hpp>
#include <utility>

#include "core/base/timestamp.hpp"
#include "hosts/hyperhost/context.hpp"
#include "hosts/hyperhost/run_view.hpp"
#include "hosts/hyperhost/terminal_text.hpp"

namespace hyperhost {

using Clock = std::chrono::steady_clock;

DiskScreen::DiskScreen(Context& context, const std::string& name)
    : context_(context), name_(printable(name)) {
  Console::Paint paint;
  if (context.progress_mode() == ProgressMode::kLive)
    paint = [this](TerminalSize size) {
      std::string text = line(size);
      return text.empty() ? std::vector<std::string>{} : std::vector{std::move(text)};
    };
  else if (context.progress_mode() != ProgressMode::kJson)
    return;
  console_ = std::make_unique<Console>(STDERR_FILENO, std::move(paint));
  context.redirect_log(console_.get());
}

DiskScreen::~DiskScreen() {
  if (console_ != nullptr) context_.redirect_log(nullptr);
}

void DiskScreen::progress(Stage stage, uint64_t done, uint64_t total) {
  if (console_ == nullptr) return;
  const std::lock_guard lock(mutex_);
  if (begun_ && stage < stage_) return;  // a stage behind the one that is shown, of the same bytes
  const bool another = !begun_ || stage != stage_;
  if (another) rate_ = ByteRate();
  begun_ = true;
  stage_ = stage;
  done_ = done;
  total_ = total;
  const auto now = Clock::now();
  rate_.sample(static_cast<double>(done), now);
  if (context_.progress_mode() != ProgressMode::kJson) return;
  const bool last = total != 0 && done >= total;
  if (!another && !last && now - told_ < std::chrono::seconds(1)) return;
  told_ = now;
  console_->print(nlohmann::json{
      {"event", "disk_progress"},
      {"time", format_timestamp(WallClock::now())},
      {"disk", name_},
      {"stage", stage_name(stage)},
      {"bytes_done", done},
      {"bytes_total",
       total}}.dump());
}

std::string DiskScreen::line(TerminalSize size) {
  const std::lock_guard lock(mutex_);
  if (!begun_) return {};
  const auto now = Clock::now();
  const double rate = rate_.current(now);
  std::string out = std::string(stage_name(stage_)) + "  " + short_fraction(done_, total_);
  if (total_ != 0) {
    // Rounded down: 100 is the end.
    const double share = 100 * static_cast<double>(done_) / static_cast<double>(total_);
    out.insert(0, right_aligned(std::to_string(static_cast<unsigned>(share)), 3) + "%  ");
  }
  if (rate >= 1) {
    out += "  " + short_bytes(rate) + "/s";
    if (done_ < total_)
      out += "  " + short_duration(static_cast<double>(total_ - done_) / rate) + " left";
  }
  const std::string whole = name_ + "  " + out;
  return display_width(whole) < size.columns ? whole : fitted(out, size.columns - 1);
}

}  // namespace hyperhost
