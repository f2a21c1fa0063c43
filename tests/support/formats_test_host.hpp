// SPDX-License-Identifier: Apache-2.0
// What the format parsers need around them in a test: a host that records diagnostics, sources
// over files (with siblings and holes) and over memory, and the check that a map covers a disk and
// leads to the right bytes. One thread unless said otherwise.
#pragma once

#include <dirent.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include <atomic>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <mutex>
#include <random>
#include <string>
#include <vector>

#include "format/image_map.hpp"
#include "format/probe.hpp"

namespace hyper::disk::test {

/// Diagnostics reported since the last call of take_reports().
struct Reports {
  std::mutex mutex;
  std::vector<std::string> texts;
};
inline Reports& reports() {
  static Reports instance;
  return instance;
}
inline std::vector<std::string> take_reports() {
  const std::scoped_lock lock(reports().mutex);
  return std::exchange(reports().texts, {});
}
inline std::atomic<bool>& cancel_flag() {
  static std::atomic<bool> flag{false};
  return flag;
}

inline Op test_op() {
  static const hyper_host host = [] {
    hyper_host table{};
    table.size = sizeof table;
    table.report = [](hyper_op*, const hyper_diag* diag) noexcept -> hyper_st {
      const std::scoped_lock lock(reports().mutex);
      reports().texts.emplace_back(diag->summary);
      return diag->code;
    };
    table.log = [](hyper_op*, int32_t, const char*, const hyper_doc*) noexcept {};
    table.progress = [](hyper_op*, uint64_t, uint64_t, const char*) noexcept {};
    table.cancelled = [](hyper_op*) noexcept -> int32_t { return cancel_flag() ? 1 : 0; };
    return table;
  }();
  static const bool set = (detail::host_slot() = &host, true);
  static_cast<void>(set);
  return Op(nullptr);
}

class FileSource final : public Source {
 public:
  FileSource(std::filesystem::path path, uint32_t flags) : path_(std::move(path)), flags_(flags) {
    fd_ = ::open(path_.c_str(), O_RDONLY | O_CLOEXEC);
    if (fd_ < 0) throw errno_error(errno, "open " + path_.string());
    struct stat status {};
    if (::fstat(fd_, &status) != 0) throw errno_error(errno, "stat");
    length_ = static_cast<uint64_t>(status.st_size);
  }
  FileSource(const FileSource&) = delete;
  FileSource& operator=(const FileSource&) = delete;
  ~FileSource() override { ::close(fd_); }

  SourceTraits traits() const override {
    SourceTraits traits;
    traits.flags = flags_;
    traits.length = length_;
    traits.max_parallel = 16;
    return traits;
  }
  void read_at(Op, uint64_t offset, void* buf, uint64_t len) override {
    if (::pread(fd_, buf, len, static_cast<off_t>(offset)) != static_cast<ssize_t>(len))
      throw errno_error(errno, "read");
  }
  void extents(Op, uint64_t offset, uint64_t len, const EmitExtent& emit) override {
    const uint64_t end = offset + len;
    while (offset < end) {
      const off_t found = ::lseek(fd_, static_cast<off_t>(offset), SEEK_DATA);
      const uint64_t data = found < 0 ? end : std::min(end, static_cast<uint64_t>(found));
      emit(offset, data - offset, HYPER_EXTENT_ZERO | HYPER_EXTENT_HOLE);
      if (data == end) return;
      const off_t hole = ::lseek(fd_, static_cast<off_t>(data), SEEK_HOLE);
      offset = hole < 0 ? end : std::min(end, static_cast<uint64_t>(hole));
      emit(data, offset - data, 0);
    }
  }
  std::unique_ptr<Source> sibling(Op, const std::string& name) override {
    return std::make_unique<FileSource>(path_.parent_path() / name, flags_);
  }

 private:
  std::filesystem::path path_;
  uint32_t flags_;
  int fd_ = -1;
  uint64_t length_ = 0;
};

constexpr uint32_t kFileFlags =
    HYPER_SOURCE_SEEK | HYPER_SOURCE_EXTENTS | HYPER_SOURCE_SIBLING | HYPER_SOURCE_FILE;

inline std::unique_ptr<OwnedSource> open_file(const std::filesystem::path& path,
                                              uint32_t flags = kFileFlags) {
  auto opened = std::make_unique<OwnedSource>();
  export_source(std::make_unique<FileSource>(path, flags), opened->out());
  return opened;
}

/// Bytes in memory, with zeros behind them up to `length`.
class MemorySource final : public Source {
 public:
  MemorySource(std::shared_ptr<const std::vector<uint8_t>> bytes, uint64_t length)
      : bytes_(std::move(bytes)), length_(length) {}
  SourceTraits traits() const override {
    SourceTraits traits;
    traits.flags = HYPER_SOURCE_SEEK;
    traits.length = length_;
    return traits;
  }
  void read_at(Op, uint64_t offset, void* buf, uint64_t len) override {
    const uint64_t there =
        offset < bytes_->size() ? std::min<uint64_t>(len, bytes_->size() - offset) : 0;
    if (there != 0) std::memcpy(buf, bytes_->data() + offset, there);
    std::memset(static_cast<uint8_t*>(buf) + there, 0, len - there);
  }

 private:
  std::shared_ptr<const std::vector<uint8_t>> bytes_;
  uint64_t length_;
};

inline std::unique_ptr<OwnedSource> open_bytes(std::vector<uint8_t> bytes, uint64_t length = 0) {
  auto opened = std::make_unique<OwnedSource>();
  const uint64_t whole = length == 0 ? bytes.size() : length;
  export_source(std::make_unique<MemorySource>(
                    std::make_shared<const std::vector<uint8_t>>(std::move(bytes)), whole),
                opened->out());
  return opened;
}

inline std::vector<uint8_t> load(const std::filesystem::path& path) {
  std::vector<uint8_t> bytes(std::filesystem::file_size(path));
  std::ifstream in(path, std::ios::binary);
  in.read(reinterpret_cast<char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
  return bytes;
}

inline void save(const std::filesystem::path& path, const std::vector<uint8_t>& bytes) {
  std::ofstream out(path, std::ios::binary | std::ios::trunc);
  out.write(reinterpret_cast<const char*>(bytes.data()),
            static_cast<std::streamsize>(bytes.size()));
}

inline std::vector<uint8_t> inflate_unit(const Mapped& unit) {
  std::vector<uint8_t> in(unit.file_length), out(unit.unit_length + (64u << 10));
  unit.file->read_at(test_op(), unit.file_offset, in.data(), in.size());
  z_stream stream{};
  if (inflateInit(&stream) != Z_OK) throw std::bad_alloc();
  stream.next_in = in.data();
  stream.avail_in = static_cast<uInt>(in.size());
  stream.next_out = out.data();
  stream.avail_out = static_cast<uInt>(out.size());
  const int status = inflate(&stream, Z_FINISH);
  out.resize(stream.total_out);
  inflateEnd(&stream);
  if (status != Z_STREAM_END || out.size() < unit.unit_length)
    throw Error(HYPER_CORRUPT, "a unit does not inflate");
  return out;
}

/// The guest bytes of a piece; `length` of them from its beginning.
inline std::vector<uint8_t> bytes_of(const Mapped& piece) {
  std::vector<uint8_t> out(piece.length);
  if (piece.zero) return out;
  if (piece.codec == Codec::kNone) {
    piece.file->read_at(test_op(), piece.file_offset, out.data(), out.size());
    return out;
  }
  const std::vector<uint8_t> unit = inflate_unit(piece);
  std::memcpy(out.data(), unit.data() + (piece.guest_offset - piece.unit_offset), out.size());
  return out;
}

/// Throws a std::logic_error if a map() breaks its contract: gaps, overlaps, bytes out of the file.
inline std::vector<Mapped> pieces_of(const ImageMap& image, uint64_t offset, uint64_t length) {
  std::vector<Mapped> pieces;
  uint64_t next = offset;
  image.map(test_op(), offset, length, [&](const Mapped& piece) {
    const auto require = [](bool ok, const char* what) {
      if (!ok) throw std::logic_error(std::string("map contract: ") + what);
    };
    require(piece.guest_offset == next && piece.length != 0, "not contiguous");
    require(piece.length <= offset + length - next, "beyond what was asked for");
    require(!piece.hole || piece.zero, "a hole that is not zero");
    if (!piece.zero) {
      const uint64_t stored = piece.codec == Codec::kNone ? piece.length : piece.file_length;
      require(piece.file_offset <= piece.file->length() &&
                  stored <= piece.file->length() - piece.file_offset,
              "bytes beyond the file");
    }
    if (!piece.zero && piece.codec != Codec::kNone)
      require(piece.unit_offset <= piece.guest_offset &&
                  piece.guest_offset + piece.length <= piece.unit_offset + piece.unit_length,
              "a piece outside of its unit");
    next += piece.length;
    pieces.push_back(piece);
  });
  if (next != offset + length) throw std::logic_error("map contract: not covered to the end");
  return pieces;
}

/// The whole disk; for small ones.
inline std::vector<uint8_t> read_disk(const ImageMap& image) {
  std::vector<uint8_t> disk;
  for (const Mapped& piece : pieces_of(image, 0, image.virtual_size())) {
    const std::vector<uint8_t> bytes = bytes_of(piece);
    disk.insert(disk.end(), bytes.begin(), bytes.end());
  }
  return disk;
}

inline void put_le(std::vector<uint8_t>& bytes, uint64_t at, uint64_t value, int width) {
  for (int i = 0; i < width; ++i) bytes.at(at + i) = static_cast<uint8_t>(value >> (8 * i));
}
inline void put_be(std::vector<uint8_t>& bytes, uint64_t at, uint64_t value, int width) {
  for (int i = 0; i < width; ++i)
    bytes.at(at + i) = static_cast<uint8_t>(value >> (8 * (width - 1 - i)));
}

class TempDir {
 public:
  TempDir() {
    const char* base = std::getenv("TMPDIR");
    std::string name = std::string(base == nullptr ? "/var/tmp" : base) + "/formats_test.XXXXXX";
    if (::mkdtemp(name.data()) == nullptr) throw errno_error(errno, "mkdtemp");
    path_ = name;
  }
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;
  ~TempDir() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  std::filesystem::path operator/(const std::string& name) const { return path_ / name; }

 private:
  std::filesystem::path path_;
};

/// The exit status of a shell command, its output in *output.
inline int shell(const std::string& command, std::string* output = nullptr) {
  FILE* pipe = ::popen((command + " 2>&1").c_str(), "r");
  if (pipe == nullptr) return -1;
  std::string text;
  std::array<char, 4096> part;
  while (const std::size_t n = std::fread(part.data(), 1, part.size(), pipe))
    text.append(part.data(), n);
  const int status = ::pclose(pipe);
  if (output != nullptr) *output = text;
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}
inline void must(const std::string& command) {
  std::string output;
  if (shell(command, &output) != 0) throw std::runtime_error(command + ": " + output);
}

/// Runs of zeros, of text and of noise, of many lengths; zeros only from 4 MiB to the last MiB; the
/// last byte is not zero.
inline std::vector<uint8_t> pattern(uint64_t size, uint32_t seed) {
  std::mt19937_64 random(seed);
  std::vector<uint8_t> bytes(size);
  for (uint64_t at = 0; at < size;) {
    const uint64_t run = std::min<uint64_t>(size - at, 512u << random() % 13);
    const uint64_t kind = random() % 4;
    if (kind == 1)
      for (uint64_t i = at; i + 8 <= at + run; i += 8) {
        const uint64_t noise = random();
        std::memcpy(&bytes[i], &noise, 8);
      }
    else if (kind > 1)
      std::memset(&bytes[at], static_cast<int>('a' + random() % 23), run);
    at += run;
    if (at > 4u << 20 && at + (1u << 20) < size) at = size - (1u << 20);
  }
  if (size != 0) bytes.back() = 0x5a;
  return bytes;
}

#define HYPER_NEED_QEMU_IMG()                                       \
  if (::hyper::disk::test::shell("qemu-img --version") != 0) {      \
    ASSERT_EQ(std::getenv("CI"), nullptr) << "qemu-img is missing"; \
    GTEST_SKIP() << "qemu-img is missing";                          \
  }

/// The error that f ends with; its status is 0 if there was none.
template <class F>
Error error_of(F f) {
  try {
    f();
  } catch (const Error& error) {
    return error;
  } catch (const Reported& reported) {
    const auto texts = take_reports();
    return Error(reported.status(), texts.empty() ? "?" : texts.back());
  }
  return Error(HYPER_OK, "no error");
}

}  // namespace hyper::disk::test
