// SPDX-License-Identifier: Apache-2.0
// A guest's system is the text at the beginning of its first disk; a preparation writes another.
#pragma once

#include <hyper/draft/guest.hpp>

#include <chrono>

#include "mutant.hpp"

namespace mutants {

class Guest final : public hyper::GuestInstance {
 public:
  static std::unique_ptr<Guest> open(const hyper::Doc&, hyper::Op) {
    return std::make_unique<Guest>();
  }
  std::string plan(hyper::Op, const hyper::Doc&) override { return R"({"families": ["any"]})"; }

  std::string inspect(hyper::Op op, const hyper::Doc&,
                      const std::vector<hyper::BlockRef>& disks) override {
    const hyper::BlockRef& disk = disks.at(0);
    std::string text(kText.size(), '\0');
    if (mutant("guest-inspect-writes"))  // without asking whether it may
      static_cast<void>(
          disk.raw()->write_at(disk.raw()->ctx, op.raw(), 0, 0, kText.data(), kText.size()));
    read(op, disk, text);
    if (mutant("guest-inspect-shape")) return R"({"roots": {}})";
    return hyper::DocBuilder().array("/roots").json();
  }

  std::string prepare(hyper::Op op, const hyper::Doc&,
                      const std::vector<hyper::BlockRef>& disks) override {
    hyper::DocBuilder answer;
    answer.array("/actions");
    for (const hyper::BlockRef& disk : disks) {
      std::string text(kText.size(), '\0');
      read(op, disk, text);
      if (mutant("guest-swallows-nospace"))
        static_cast<void>(
            disk.raw()->write_at(disk.raw()->ctx, op.raw(), 0, 0, kText.data(), kText.size()));
      else
        disk.write_at(op, 0, kText.data(), kText.size());
      hyper::DocBuilder one;
      one.set("/rule", "mutant.text").set("/what", "wrote a text");
      if (!mutant("guest-changes-unlisted")) answer.append("/actions", one);
    }
    return answer.json();
  }

 private:
  static void read(hyper::Op op, const hyper::BlockRef& disk, std::string& text) {
    try {
      disk.read_at(op, 0, text.data(), text.size());
    } catch (const std::exception&) {
      if (mutant("guest-ignores-cancel") && op.cancelled())
        std::this_thread::sleep_for(std::chrono::seconds(3));
      if (!mutant("guest-swallows-errors") || op.cancelled()) throw;
    }
  }
  static inline const std::string kText = "prepared";
};

}  // namespace mutants
