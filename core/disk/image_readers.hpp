// SPDX-License-Identifier: Apache-2.0
// Finds the plugin that reads a disk image. The manifests say which reader knows a format and how
// its files begin; a reader is loaded only when its manifest does not rule it out. Formats without
// a signature (raw) are tried last, because every file may be one. Owned by a session; any thread.
#pragma once

#include <functional>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "core/plugin/format_catalog.hpp"
#include "core/plugin/handles.hpp"
#include "core/plugin/registry.hpp"

namespace hyperhost {

/// Plugin references; "" = none.
struct ReaderChoice {
  std::string first;   ///< is asked before all others, and must start
  std::string except;  ///< is not asked
};

class ImageReaders {
 public:
  /// options: with what a plugin of that id reads.
  ImageReaders(PluginRegistry& registry, std::function<Options(const std::string&)> options);

  const FormatCatalog& formats() const { return formats_; }

  /// What a seekable source is, judged by its content. `name` is for messages. Throws Error where
  /// no reader knows it, and where its signature is one of a reader that does not start: as
  /// another reader's raw disk it would be garbage.
  std::string detect(const SourceHandle& source, const std::string& name, Operation& op) const;

  /// The guest-visible bytes of `file`, by the first reader that can. format "" = by content.
  /// used: that reader's plugin id.
  std::unique_ptr<SourceHandle> open(const std::shared_ptr<SourceHandle>& file,
                                     const std::string& format, const ReaderChoice& choice,
                                     Operation& op, std::string& used) const;

  /// The reader that turns a source into a raw disk for this converter. "" where the converter
  /// reads the format itself, its manifest does not say, or no reader lists the format.
  std::string decoder_for(const std::string& converter, const std::string& format) const;

  /// Throws unless another plugin than `converter` can re-read images of that format here. Asked
  /// before a disk is converted: a missing program would be noticed behind hours of work.
  void require_independent(const std::string& converter, const std::string& format,
                           Operation& op) const;

 private:
  class Detection;
  ImageReader reader(const std::string& id) const;
  std::vector<std::string> candidates(const std::string& format, const ReaderChoice& choice) const;

  PluginRegistry& registry_;
  std::function<Options(const std::string&)> options_;
  FormatCatalog formats_;
};

}  // namespace hyperhost
