// SPDX-License-Identifier: Apache-2.0
#include "hosts/hyperhost/run_screen.hpp"

#include <unistd.h>

#include "hosts/hyperhost/context.hpp"
#include "hosts/hyperhost/run_events.hpp"
#include "hosts/hyperhost/run_log.hpp"
#include "hosts/hyperhost/run_view.hpp"
#include "hosts/hyperhost/terminal_text.hpp"

namespace hyperhost {

RunScreen::RunScreen(Context& context, MigrationOrchestrator& orchestrator,
                     const std::string& title)
    : context_(context), orchestrator_(orchestrator) {
  const ProgressTracker& tracker = *orchestrator.get_progress_tracker();
  Console::Paint paint;
  if (context.progress_mode() == ProgressMode::kLive) {
    view_ = std::make_unique<RunView>(
        tracker, RunView::Options{title, wants_colour(STDERR_FILENO), shows_unicode()});
    paint = [view = view_.get()](TerminalSize size) { return view->lines(size); };
  }
  console_ = std::make_unique<Console>(STDERR_FILENO, std::move(paint));
  if (context.progress_mode() == ProgressMode::kJson)
    teller_ = std::make_unique<RunEvents>(
        tracker, [console = console_.get()](std::string line) { console->print(std::move(line)); });
  else
    teller_ = std::make_unique<RunLog>(view_ != nullptr);
  context.redirect_log(console_.get());
  orchestrator.events().subscribe(teller_.get());
}

RunScreen::~RunScreen() {
  orchestrator_.events().unsubscribe(teller_.get());
  context_.redirect_log(nullptr);
}

}  // namespace hyperhost
