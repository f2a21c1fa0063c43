// SPDX-License-Identifier: Apache-2.0
#include "core/plugin/elf_section.hpp"

#include <elf.h>
#include <fcntl.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstring>
#include <vector>

#include "core/base/diagnostic.hpp"
#include "core/os/fd.hpp"

namespace hyperhost {
namespace {

constexpr uint64_t kMaxSection = 1u << 20;
constexpr uint64_t kMaxNameBytes = 1u << 20;

#if defined(__x86_64__)
constexpr uint16_t kMachine = EM_X86_64;
#elif defined(__aarch64__)
constexpr uint16_t kMachine = EM_AARCH64;
#elif defined(__riscv)
constexpr uint16_t kMachine = EM_RISCV;
#else
#error "add this machine's ELF number"
#endif

class ElfFile {
 public:
  explicit ElfFile(const std::string& path)
      : path_(path), fd_(::open(path.c_str(), O_RDONLY | O_CLOEXEC)) {
    struct stat status {};
    if (!fd_.valid() || ::fstat(fd_.get(), &status) != 0) throw errno_error(errno, "read " + path);
    size_ = static_cast<uint64_t>(status.st_size);
  }

  void read(uint64_t offset, void* buffer, uint64_t length) const {
    if (offset > size_ || length > size_ - offset) broken("it is truncated");
    auto* out = static_cast<char*>(buffer);
    while (length > 0) {
      const ssize_t got = ::pread(fd_.get(), out, length, static_cast<off_t>(offset));
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) throw errno_error(errno, "read " + path_);
      if (got == 0) broken("it is truncated");
      out += got;
      offset += static_cast<uint64_t>(got);
      length -= static_cast<uint64_t>(got);
    }
  }

  [[noreturn]] void broken(const std::string& why) const {
    throw Error(Code::kCorrupt, path_ + " is not a plugin for this machine", why);
  }

 private:
  std::string path_;
  Fd fd_;
  uint64_t size_ = 0;
};

}  // namespace

std::optional<std::string> read_elf_section(const std::string& path, const std::string& section) {
  const ElfFile file(path);
  Elf64_Ehdr header{};
  file.read(0, &header, sizeof header);
  if (std::memcmp(header.e_ident, ELFMAG, SELFMAG) != 0) file.broken("it is no ELF file");
  if (header.e_ident[EI_CLASS] != ELFCLASS64 || header.e_ident[EI_DATA] != ELFDATA2LSB)
    file.broken("it is not 64-bit little-endian");
  if (header.e_type != ET_DYN) file.broken("it is no shared object");
  if (header.e_machine != kMachine) file.broken("it is for another processor");
  if (header.e_shentsize != sizeof(Elf64_Shdr) || header.e_shstrndx >= header.e_shnum)
    file.broken("its section table is damaged");

  std::vector<Elf64_Shdr> sections(header.e_shnum);  // 16-bit count: at most 4 MiB
  file.read(header.e_shoff, sections.data(), sections.size() * sizeof(Elf64_Shdr));
  const Elf64_Shdr& names_header = sections[header.e_shstrndx];
  if (names_header.sh_size == 0 || names_header.sh_size > kMaxNameBytes)
    file.broken("its section names are damaged");
  std::string names(names_header.sh_size, '\0');
  file.read(names_header.sh_offset, names.data(), names.size());
  names.back() = '\0';

  for (const Elf64_Shdr& candidate : sections) {
    if (candidate.sh_name >= names.size() || section != names.c_str() + candidate.sh_name) continue;
    if (candidate.sh_type == SHT_NOBITS || candidate.sh_size > kMaxSection)
      file.broken("its section " + section + " is damaged");
    std::string content(candidate.sh_size, '\0');
    file.read(candidate.sh_offset, content.data(), content.size());
    return content;
  }
  return std::nullopt;
}

}  // namespace hyperhost
