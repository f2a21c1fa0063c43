// SPDX-License-Identifier: Apache-2.0
// hyper.converter/1: what plan() promises convert() does, bytes stay what they are, failures and
// cancel are passed on.
#include <chrono>
#include <thread>

#include "core/check/conversion.hpp"
#include "core/check/resources.hpp"

namespace hyperhost::check {
namespace {

/// A source that is read in multiples of a block, and in no more than so many bytes.
void blocks(Run& run, const OpenedConverter& opened) {
  for (const Planned& plan : opened.planned) {
    if (plan.source == "file") continue;
    Conversion conversion = opened.conversion(run, plan);
    conversion.access = "seek";
    conversion.source.block_min = 512;
    conversion.source.block_max = 96 * 1024;
    conversion.expect_right();
    return;
  }
}

/// Several disks at once through one instance, each with other bytes.
void several(Run& run, const OpenedConverter& opened) {
  if (opened.converter->plugin().serial()) return;
  std::vector<Conversion> conversions;
  for (unsigned i = 0; i < 3; ++i) {
    Conversion conversion(run, *opened.converter, opened.planned.front(),
                          disk_bytes(opened.guest.size(), 40 + i));
    conversion.access = opened.planned.front().source;
    conversion.sink.kind = opened.planned.front().sinks.front();
    conversions.push_back(std::move(conversion));
  }
  run.at("convert() of several disks at once");
  std::vector<std::thread> threads;
  for (Conversion& conversion : conversions)
    threads.emplace_back([&] {
      try {
        conversion.expect_right();
      } catch (const CaseEnded&) {
      } catch (const std::exception& error) {
        run.fail(error.what());
      }
    });
  for (std::thread& thread : threads) thread.join();
}

}  // namespace

void case_converter_plan(Run& run) {
  const OpenedConverter opened(run, 1u << 20);
  // Nonsense is refused with a reason.
  for (const char* request : {"{}", R"({"source": {}, "target": {"format": "no-such-format"}})"}) {
    run.at("plan(" + std::string(request) + ")");
    run.expect_error("plan(" + std::string(request) + ")", [&] {
      Operation op = operation("plan");
      static_cast<void>(opened.converter->plan(op, nlohmann::json::parse(request)));
    });
  }
}

void case_converter(Run& run) {
  const OpenedConverter opened(run, (5u << 20) + 3 * 512);
  bool first = true;
  for (const Planned& plan : opened.planned) {
    for (const std::string& kind : plan.sinks) {
      Conversion conversion = opened.conversion(run, plan);
      conversion.sink.kind = kind;
      conversion.expect_right();
      if (!first) break;  // every kind of sink once is enough
    }
    if (first && plan.source == "stream") {
      Conversion conversion = opened.conversion(run, plan);
      conversion.access = "seek";
      conversion.expect_right();
    }
    first = false;
  }
  // An empty disk and one of a single sector.
  for (const std::size_t size : {std::size_t{512}}) {
    const OpenedConverter small(run, size);
    small.conversion(run, small.planned.front()).expect_right();
  }
  blocks(run, opened);
  several(run, opened);
}

void case_converter_failures(Run& run) {
  const OpenedConverter opened(run, 4u << 20);
  for (const Planned& plan : opened.planned) {
    if (plan.source != "file") {
      Conversion conversion = opened.conversion(run, plan);
      conversion.source.fails_at = 2'000'000;
      run.expect_error(conversion.name() + " of a disk that cannot be read",
                       [&] { static_cast<void>(conversion.convert()); }, {Code::kIo});
    }
    if (plan.sinks.front() != "path") {
      Conversion conversion = opened.conversion(run, plan);
      conversion.sink.fails_at = 1'000'000;
      run.expect_error(conversion.name() + " into a full sink",
                       [&] { static_cast<void>(conversion.convert()); }, {Code::kNoSpace});
    }
    Conversion conversion = opened.conversion(run, plan);
    conversion.virtual_size = opened.guest.size() + (1u << 20);
    run.expect_error(conversion.name() + " of a disk that is shorter than its owner says",
                     [&] { static_cast<void>(conversion.convert()); });
    break;  // the ways of failing are those of one target
  }
}

void case_converter_cancel(Run& run) {
  const OpenedConverter opened(run, 16u << 20);
  const auto cancel = CancelSource::create();
  Conversion conversion = opened.conversion(run, opened.planned.front());
  conversion.cancel = cancel;
  conversion.source.delay_us =
      100'000;  // 16 s in all, for a converter that reads 100 KiB at a time
  std::chrono::steady_clock::time_point cancelled_at{};
  std::thread canceller([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(150));
    cancelled_at = std::chrono::steady_clock::now();
    cancel->cancel();
  });
  std::string wrong;
  try {
    static_cast<void>(conversion.convert());
    if (conversion.access != "file") wrong = "succeeds although it was cancelled";
  } catch (const Error& error) {
    if (error.code() != Code::kCancelled)
      wrong = "fails otherwise when it is cancelled: " + std::string(error.what());
  }
  canceller.join();
  run.expect(wrong.empty(), conversion.name() + " " + wrong);
  run.expect(std::chrono::steady_clock::now() - cancelled_at < std::chrono::seconds(2),
             conversion.name() + " continues for more than 2 s after the cancel");
}

void case_converter_again(Run& run) {
  const OpenedConverter opened(run, 300 * 1024);
  expect_no_growth(run, "convert()", 3, [&] {
    static_cast<void>(opened.conversion(run, opened.planned.front()).convert());
  });
  expect_no_growth(run, "convert() that fails", 3, [&] {
    Conversion conversion = opened.conversion(run, opened.planned.front());
    conversion.virtual_size = opened.guest.size() + (1u << 20);
    try {
      static_cast<void>(conversion.convert());
    } catch (const Error&) {  // as it should be
      return;
    }
  });
  expect_no_growth(run, "open() and close()", 3, [&] {
    Operation op = operation("open");
    run.at("open()");
    ConverterHandle converter(run.plugin(), run.options(HYPER_IFACE_CONVERTER), op);
    run.at("close()");
  });
}

}  // namespace hyperhost::check
