// SPDX-License-Identifier: Apache-2.0
// A store that holds nothing: the least that the interface asks for.
#pragma once

#include <hyper/plugin.hpp>

class NullStorage : public hyper::StorageConnection {
 public:
  static std::unique_ptr<NullStorage> connect(hyper::Doc, hyper::Op) {
    return std::make_unique<NullStorage>();
  }
  std::string info(hyper::Op) override { return R"({"location": "nowhere", "sink": ["random"]})"; }
  std::unique_ptr<hyper::Sink> put(hyper::Op, const hyper::Doc&) override {
    throw hyper::Error(HYPER_NOSPACE, "there is no room in nowhere");
  }
  std::unique_ptr<hyper::Source> get(hyper::Op, const std::string& key) override {
    throw hyper::Error(HYPER_NOTFOUND, "there is no " + key);
  }
  std::string stat(hyper::Op, const std::string&) override { return {}; }
  void list(hyper::Op, const std::string&, const hyper::Emit&) override {}
  void remove(hyper::Op, const std::string&) override {}
};
