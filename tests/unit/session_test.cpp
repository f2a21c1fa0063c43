// SPDX-License-Identifier: Apache-2.0
// What a run holds open, asked for by many VMs at once.
#include "core/migrate/session.hpp"

#include <gmock/gmock.h>

#include <future>

#include "tests/support/memory_plugins.hpp"

namespace hyperhost::testing_memory {
namespace {

class Connections : public MemoryHost {
 protected:
  static PluginChoice named(const std::string& name) {
    return {"memory-vms", Options(json{{"name", name}})};
  }
  Session session_{registry_, {{"slow", named("slow")}, {"fast", named("fast")}}, services()};
  ProviderHandle& connect(const std::string& name) {
    Operation op = session_.operation(name, cancel_);
    return session_.provider(name, op);
  }
};

TEST_F(Connections, OneThatTakesLongKeepsNoOtherWaiting) {
  std::promise<void> fast_is_there, slow_began;
  bool in_time = false;
  world_.on_call = [&](const std::string& call) {
    if (call != "connect slow") return;
    slow_began.set_value();
    in_time =
        fast_is_there.get_future().wait_for(std::chrono::seconds(2)) == std::future_status::ready;
  };
  std::thread slow([&] { connect("slow"); });
  slow_began.get_future().wait();
  connect("fast");
  fast_is_there.set_value();
  slow.join();
  EXPECT_TRUE(in_time);
}

TEST_F(Connections, OneIsMadeForAllThatAskForIt) {
  std::vector<std::future<ProviderHandle*>> asked;
  for (int i = 0; i < 4; ++i)
    asked.push_back(std::async(std::launch::async, [&] { return &connect("slow"); }));
  ProviderHandle* first = asked[0].get();
  for (int i = 1; i < 4; ++i) EXPECT_EQ(asked[static_cast<std::size_t>(i)].get(), first);
  EXPECT_EQ(world_.count("connect slow"), 1u);
}

TEST_F(Connections, AFailureIsTheCallersAndTheNextOneTriesAgain) {
  world_.on_call = [](const std::string&) { throw hyper::Error(HYPER_AUTH, "no"); };
  EXPECT_THROW(connect("slow"), Error);
  world_.on_call = {};
  connect("slow");
  EXPECT_EQ(world_.count("connect slow"), 2u);
}

TEST_F(Connections, WhoeverIsCancelledDoesNotWaitForTheOneThatConnects) {
  std::promise<void> slow_began, cancelled;
  world_.on_call = [&](const std::string&) {
    slow_began.set_value();
    cancelled.get_future().wait_for(std::chrono::seconds(5));
  };
  std::thread slow([&] { connect("slow"); });
  slow_began.get_future().wait();
  const auto own = CancelSource::create();
  own->cancel();
  Operation op = session_.operation("late", own);
  EXPECT_THROW(session_.provider("slow", op), Error);
  cancelled.set_value();
  slow.join();
}

}  // namespace
}  // namespace hyperhost::testing_memory
