// SPDX-License-Identifier: Apache-2.0
// How to undo what the stages of one VM did. Owned by the VM's run; one thread at a time.
#pragma once

#include <functional>
#include <utility>
#include <vector>

#include "core/base/diagnostic.hpp"

namespace hyperhost {

class RollbackStack {
 public:
  using Undo = std::function<void()>;

  void push(Undo undo) { steps_.push_back(std::move(undo)); }

  /// Undoes everything, the newest first. A step that throws Error is reported; the others run all
  /// the same.
  void unwind(const std::function<void(const Error&)>& on_failure) {
    while (!steps_.empty()) {
      const Undo undo = std::move(steps_.back());
      steps_.pop_back();
      try {
        undo();
      } catch (const Error& failure) {
        on_failure(failure);
      }
    }
  }

 private:
  std::vector<Undo> steps_;
};

}  // namespace hyperhost
