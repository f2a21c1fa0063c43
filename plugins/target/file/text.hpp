// SPDX-License-Identifier: Apache-2.0
// Texts of a VM (its name, its networks: anyone's) inside XML, YAML and shell scripts. Stateless.
#ifndef HYPERHOST_FILE_TARGET_TEXT_HPP
#define HYPERHOST_FILE_TARGET_TEXT_HPP

#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace hyperhost::file_target {

/// For attributes (in either quotes) and texts. Characters that XML does not have become '?'.
std::string xml(std::string_view text);
/// A double-quoted YAML scalar, which is JSON too.
std::string yaml(std::string_view text);
/// One word of a POSIX shell, in single quotes.
std::string shell(std::string_view text);
/// One line of a comment of a script or of YAML, without "# ".
std::string comment(std::string_view text);
/// A DNS label (RFC 1123) that resembles the text: at most `most` of a-z, 0-9 and '-'. Two texts
/// that resemble each other get different labels, unless the text is a label itself.
std::string dns_label(std::string_view text, std::size_t most);

/// XML elements, written in their order and indented.
class XmlWriter {
 public:
  using Attributes = std::vector<std::pair<std::string, std::string>>;
  void open(const std::string& name, const Attributes& attributes = {});
  void close();
  void empty(const std::string& name, const Attributes& attributes = {});
  void text(const std::string& name, const std::string& content, const Attributes& attributes = {});
  /// REQUIRES: all elements are closed.
  const std::string& done() const { return out_; }

 private:
  std::string start(const std::string& name, const Attributes& attributes) const;
  std::string out_;
  std::vector<std::string> open_;
};

}  // namespace hyperhost::file_target

#endif
