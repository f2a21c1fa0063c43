// SPDX-License-Identifier: Apache-2.0
// A guest plugin for tests: it writes a text to each disk, where the option says.
#include <hyper/draft/guest.hpp>
#include <hyper/plugin.hpp>

#include <unistd.h>

#include <fstream>

namespace {

class Scribe final : public hyper::GuestInstance {
 public:
  static std::unique_ptr<Scribe> open(const hyper::Doc& options, hyper::Op) {
    auto out = std::make_unique<Scribe>();
    out->text_ = options.string("/text");
    out->offset_ = options.need_size("/offset");
    out->fail_ = options.string("/fail");
    out->served_ = options.string("/served");
    out->finding_ = options.string("/finding");
    out->traces_ = options.need_size("/traces");
    return out;
  }
  std::string plan(hyper::Op, const hyper::Doc& request) override {
    if (request.string("/machine/disks/0/bus").empty())
      throw hyper::Error(HYPER_FAIL, "the host names no machine");
    if (fail_ == "plan") throw hyper::Error(HYPER_UNSUPPORTED, "the scribe takes no such VM");
    return traces_ != 0 ? R"({"families": ["any"], "traces": true})" : R"({"families": ["any"]})";
  }
  /// An error for each disk that has not the text, and the one that a preparation would leave.
  std::string inspect(hyper::Op op, const hyper::Doc& request,
                      const std::vector<hyper::BlockRef>& disks) override {
    if (request.boolean("/traces")) return count_boots(op, disks);
    hyper::DocBuilder answer, root;
    root.set("/os", "linux").set("/distro", "scribal").array("/mounts");
    answer.array("/findings").array("/roots").append("/roots", root);
    for (const hyper::BlockRef& disk : disks) {
      std::string there(text_.size(), '\0');
      disk.read_at(op, offset_, there.data(), there.size());
      if (there == text_) continue;
      hyper::DocBuilder one;
      one.set("/rule", "scribe.text")
          .set("/severity", "error")
          .set("/summary", "a disk has not the text")
          .set("/evidence", disk.id())
          .set("/fixable_by", "scribe");
      answer.append("/findings", one);
    }
    if (!finding_.empty()) add_finding(answer);
    return answer.json();
  }
  std::string prepare(hyper::Op op, const hyper::Doc&,
                      const std::vector<hyper::BlockRef>& disks) override {
    hyper::DocBuilder answer;
    answer.array("/actions");
    for (const hyper::BlockRef& disk : disks) {
      std::string before(text_.size(), '\0');
      disk.read_at(op, offset_, before.data(), before.size());
      disk.write_at(op, offset_, text_.data(), text_.size());
      disk.flush(op);
      hyper::DocBuilder one;
      one.set("/rule", "scribe.text").set("/what", "wrote to " + disk.id()).set("/after", text_);
      answer.append("/actions", one);
    }
    if (!served_.empty()) serve(op, disks);
    if (fail_ == "prepare") throw hyper::Error(HYPER_FAIL, "the scribe is out of ink");
    answer.set("/root", "/dev/known");
    if (!finding_.empty()) {
      op.report(hyper::Error(HYPER_FAIL, "the ink will fade").rule(finding_), HYPER_SEVERITY_ERROR);
      answer.array("/findings");
      add_finding(answer);
    }
    return answer.json();
  }

 private:
  /// The byte at the option's offset counts them.
  std::string count_boots(hyper::Op op, const std::vector<hyper::BlockRef>& disks) const {
    hyper::DocBuilder answer;
    answer.array("/roots").object("/traces").array("/traces/boots");
    for (const hyper::BlockRef& disk : disks) {
      unsigned char count = 0;
      disk.read_at(op, traces_, &count, 1);
      for (unsigned i = 1; i <= count; ++i) {
        const std::string name = "boot " + std::to_string(i) + " of " + disk.id();
        hyper::DocBuilder one;
        answer.append("/traces/boots", one.set("/id", name).set("/evidence", name));
      }
    }
    return answer.json();
  }
  void add_finding(hyper::DocBuilder& answer) const {
    hyper::DocBuilder one;
    one.set("/rule", finding_).set("/severity", "error").set("/summary", "the ink will fade");
    answer.append("/findings", one);
  }
  void serve(hyper::Op op, const std::vector<hyper::BlockRef>& disks) {
    const std::string unfinished = served_ + ".part";
    {
      std::ofstream out(unfinished);
      for (const hyper::BlockRef& disk : disks)
        out << disk.attach(op, HYPER_ATTACH_NBD_UNIX).json() << "\n";
    }
    ::rename(unfinished.c_str(), served_.c_str());
    while (::access(served_.c_str(), F_OK) == 0) op.sleep_ns(10'000'000);
  }

  std::string text_, fail_, served_, finding_;
  uint64_t offset_ = 0, traces_ = 0;
};

struct ScribePlugin {
  using Interfaces = hyper::Interfaces<hyper::Guest<Scribe>>;
  static constexpr int32_t kThreads = HYPER_THREADS_PARALLEL;
};

}  // namespace

HYPER_PLUGIN(ScribePlugin)
