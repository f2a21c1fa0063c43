// SPDX-License-Identifier: Apache-2.0
#include "package.hpp"

#include <fcntl.h>

#include <algorithm>
#include <filesystem>
#include <unordered_map>

#include <hyper/error.hpp>

#include "tar_index.hpp"

namespace hyper::ovf {
namespace {

class ArchivePackage final : public Package {
 public:
  explicit ArchivePackage(const std::string& path)
      : Package(path), file_(File::open(path)), index_(index_tar(*file_)) {
    for (std::size_t i = 0; i < index_.members.size(); ++i) by_name_[index_.members[i].name] = i;
  }

  std::optional<Piece> find(const std::string& name) const override {
    const auto found = by_name_.find(name);
    if (found == by_name_.end()) return std::nullopt;
    const TarMember& member = index_.members[found->second];
    if (!member.regular)
      throw Error(HYPER_AUTH,
                  "'" + name + "' in '" + path() + "' is a link or a device, not a file");
    return Piece{file_, member.offset, member.size, member.name};
  }

  std::vector<std::string> names(const std::string& extension) const override {
    std::vector<std::string> out;
    for (const TarMember& member : index_.members)
      if (has_extension(member.name, extension) && base_name(member.name).rfind("._", 0) != 0)
        out.push_back(member.name);  // "._x" is what macOS keeps attributes in
    return out;
  }

  bool archive() const override { return true; }
  bool end_marker() const override { return index_.end_marker; }

 private:
  std::shared_ptr<const File> file_;
  TarIndex index_;
  std::unordered_map<std::string, std::size_t> by_name_;
};

class DirectoryPackage final : public Package {
 public:
  explicit DirectoryPackage(const std::string& path)
      : Package(path), directory_(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)) {
    if (directory_.get() < 0)
      throw errno_error(errno, "the directory '" + path + "' cannot be opened");
  }

  std::optional<Piece> find(const std::string& name) const override {
    std::shared_ptr<const File> file = File::open_beneath(directory_.get(), path(), name);
    if (!file) return std::nullopt;
    const uint64_t size = file->size();
    return Piece{std::move(file), 0, size, name};
  }

  std::vector<std::string> names(const std::string&) const override { return {}; }
  bool archive() const override { return false; }

 private:
  Fd directory_;
};

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

}  // namespace

std::shared_ptr<const Package> Package::open_archive(const std::string& path) {
  return std::make_shared<ArchivePackage>(path);
}

std::shared_ptr<const Package> Package::open_directory(const std::string& path) {
  return std::make_shared<DirectoryPackage>(path);
}

std::optional<Piece> find_reference(const Package& package, const std::string& base,
                                    const std::string& href, const std::string& whose) {
  const std::string decoded = percent_decoded(href);
  for (const std::string& name : {href, decoded}) {
    check_inside(name, whose);
    const std::string plain = name.substr(name.rfind("./", 0) == 0 ? 2 : 0);
    if (auto piece = package.find(base + plain)) return piece;
    if (decoded == href) break;
  }
  return std::nullopt;
}

std::string percent_decoded(const std::string& text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const int high = text[i] == '%' && i + 2 < text.size() ? hex_digit(text[i + 1]) : -1;
    const int low = high >= 0 ? hex_digit(text[i + 2]) : -1;
    if (low >= 0) {
      out += static_cast<char>(high * 16 + low);
      i += 2;
    } else {
      out += text[i];
    }
  }
  return out;
}

std::string lower(std::string text) {
  for (char& c : text)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  return text;
}

bool has_extension(const std::string& name, const std::string& extension) {
  const std::string end = "." + extension;
  return name.size() > end.size() && lower(name.substr(name.size() - end.size())) == end;
}

std::string base_name(const std::string& path) {
  return path.substr(path.rfind('/') + 1);  // npos + 1 == 0
}

std::string stem(const std::string& path) {
  const std::string name = base_name(path);
  const std::size_t dot = name.rfind('.');
  return dot == std::string::npos || dot == 0 ? name : name.substr(0, dot);
}

std::string directory_part(const std::string& path) {
  return path.substr(0, path.rfind('/') + 1);
}

}  // namespace hyper::ovf
