// SPDX-License-Identifier: Apache-2.0
#include "core/block/overlay_file.hpp"

#include <fcntl.h>
#include <openssl/evp.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstring>

#include "core/base/diagnostic.hpp"
#include "core/base/random_id.hpp"

namespace hyperhost {
namespace {

constexpr uint64_t kHeaderBytes = 4096;
constexpr char kOverlayMagic[8] = {'H', 'Y', 'P', 'E', 'R', 'O', 'V', 'L'};
constexpr uint32_t kOverlayVersion = 1;
constexpr uint64_t kMostBytes = uint64_t{1} << 62;  // of a disk: offsets in the file fit off_t

uint64_t rounded(uint64_t value, uint64_t to) {
  return (value + to - 1) / to * to;
}

/// Little endian, as it stands in the file.
struct OverlayHeader {
  char magic[8];
  uint32_t version;
  uint32_t cluster;
  uint64_t length;
  uint8_t base[32];
  uint8_t checksum[32];  ///< SHA-256 of what stands before it
};
static_assert(sizeof(OverlayHeader) == 88);

OverlayFile::Fingerprint checksum_of(const OverlayHeader& header) {
  OverlayFile::Fingerprint out{};
  if (EVP_Digest(&header, offsetof(OverlayHeader, checksum), out.data(), nullptr, EVP_sha256(),
                 nullptr) != 1)
    throw Error(Code::kFail, "SHA-256 is not available in this OpenSSL");
  return out;
}

hyper::Error full(int error_number, const std::string& name) {
  hyper::Error out = hyper::errno_error(error_number, "write the overlay " + name);
  // A quota of the file's size, too, is a lack of space.
  if (error_number == EFBIG)
    out = hyper::Error(HYPER_NOSPACE, out.summary(), out.detail()).native(error_number);
  return out;
}

void write_all(int fd, const std::string& name, uint64_t offset, const void* bytes,
               uint64_t length) {
  const auto* in = static_cast<const char*>(bytes);
  while (length > 0) {
    const ssize_t put = ::pwrite(fd, in, length, static_cast<off_t>(offset));
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) throw full(errno, name);
    in += put;
    offset += static_cast<uint64_t>(put);
    length -= static_cast<uint64_t>(put);
  }
}

void read_all(int fd, const std::string& name, uint64_t offset, void* buffer, uint64_t length) {
  auto* out = static_cast<char*>(buffer);
  while (length > 0) {
    const ssize_t got = ::pread(fd, out, length, static_cast<off_t>(offset));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) throw hyper::errno_error(errno, "read the overlay " + name);
    if (got == 0) throw hyper::Error(HYPER_CORRUPT, "the overlay " + name + " became shorter");
    out += got;
    offset += static_cast<uint64_t>(got);
    length -= static_cast<uint64_t>(got);
  }
}

/// A file of this length to which nothing was ever written: a kill interrupted its creation.
bool unfinished(int fd, const struct stat& status, uint64_t length) {
  return static_cast<uint64_t>(status.st_size) == length && ::lseek(fd, 0, SEEK_DATA) < 0 &&
         errno == ENXIO;
}

/// A file is only as durable as its name.
void sync_name(const std::filesystem::path& path) {
  const auto parent = std::filesystem::absolute(path).parent_path();
  const Fd directory(::open(parent.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!directory.valid() || ::fsync(directory.get()) != 0)
    throw errno_error(errno, "make the name of the overlay " + path.string() + " durable");
}

/// What a file's own functions throw, as the host's.
template <class F>
void as_host(const F& f) {
  try {
    f();
  } catch (const hyper::Error& error) {
    throw Error(static_cast<Code>(error.status()), error.summary(), error.detail());
  }
}

/// can_be_named: it has a name later on, where the file system lets it have one.
Fd open_nameless(const std::filesystem::path& directory, uint64_t length, bool can_be_named) {
  if (length > kMostBytes) throw Error(Code::kUnsupported, "the disk is too large for an overlay");
  std::error_code created;
  std::filesystem::create_directories(directory, created);
  const int exclusive = can_be_named ? 0 : O_EXCL;
  Fd fd(::open(directory.c_str(), O_RDWR | O_TMPFILE | exclusive | O_CLOEXEC, 0600));
  if (!fd.valid() && (errno == EOPNOTSUPP || errno == EISDIR || errno == ENOENT)) {
    // A file system without nameless files: the name lives as long as these two calls.
    const std::string path = (directory / (".hyperhost-overlay-" + random_id())).string();
    fd = Fd(::open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
    if (fd.valid()) ::unlink(path.c_str());
  }
  if (!fd.valid()) throw errno_error(errno, "create an overlay in " + directory.string());
  return fd;
}

}  // namespace

OverlayFile::OverlayFile(Fd fd, std::string name, uint64_t length, bool mapped)
    : fd_(std::move(fd)),
      name_(std::move(name)),
      length_(length),
      map_bytes_(rounded(rounded(length, kCluster) / kCluster, OverlayMap::kPageClusters) / 4),
      data_(mapped ? rounded(kHeaderBytes + map_bytes_, kCluster) : 0) {}

OverlayFile OverlayFile::nameless(const std::filesystem::path& directory, uint64_t length) {
  OverlayFile out(open_nameless(directory, length, false), "in " + directory.string(), length,
                  false);
  if (::ftruncate(out.fd_.get(), static_cast<off_t>(length)) != 0)
    throw errno_error(errno, "make a sparse overlay of " + std::to_string(length) + " bytes in " +
                                 directory.string());
  return out;
}

OverlayFile OverlayFile::keepable(const std::filesystem::path& directory, uint64_t length,
                                  const Fingerprint& base) {
  OverlayFile out(open_nameless(directory, length, true), "in " + directory.string(), length, true);
  as_host([&] { out.create(length, base); });
  return out;
}

OverlayFile OverlayFile::kept(const std::filesystem::path& path, uint64_t length,
                              const Fingerprint& base, OverlayMap& map) {
  if (length > kMostBytes) throw Error(Code::kUnsupported, "the disk is too large for an overlay");
  Fd fd(::open(path.c_str(), O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0600));
  if (!fd.valid()) throw errno_error(errno, "open the overlay " + path.string());
  struct stat status {};
  if (::fstat(fd.get(), &status) != 0) throw errno_error(errno, "read " + path.string());
  if (!S_ISREG(status.st_mode))
    throw Error(Code::kUnsupported, "the overlay " + path.string() + " is not a regular file");
  OverlayFile out(std::move(fd), path.string(), length, true);
  out.kept_ = true;
  if (::flock(out.fd_.get(), LOCK_EX | LOCK_NB) != 0)
    throw Error(Code::kBusy, "another process uses the overlay " + path.string());
  as_host([&] {
    if (::fstat(out.fd_.get(), &status) != 0) throw errno_error(errno, "read " + path.string());
    if (status.st_size == 0 || unfinished(out.fd_.get(), status, out.data_ + length))
      out.create(length, base);
    else
      out.load(length, base, map);
  });
  sync_name(path);
  return out;
}

void OverlayFile::create(uint64_t length, const Fingerprint& base) {
  OverlayHeader header{};
  std::memcpy(header.magic, kOverlayMagic, sizeof kOverlayMagic);
  header.version = kOverlayVersion;
  header.cluster = static_cast<uint32_t>(kCluster);
  header.length = length;
  std::memcpy(header.base, base.data(), base.size());
  std::memcpy(header.checksum, checksum_of(header).data(), sizeof header.checksum);
  try {
    if (::ftruncate(fd_.get(), static_cast<off_t>(data_ + length)) != 0) throw full(errno, name_);
    write_all(fd_.get(), name_, 0, &header, sizeof header);
  } catch (...) {
    static_cast<void>(::ftruncate(fd_.get(), 0));  // as if it had not been opened
    throw;
  }
}

void OverlayFile::load(uint64_t length, const Fingerprint& base, OverlayMap& map) const {
  struct stat status {};
  if (::fstat(fd_.get(), &status) != 0) throw errno_error(errno, "read " + name_);
  const auto size = static_cast<uint64_t>(status.st_size);
  OverlayHeader header{};
  if (size < sizeof header) throw Error(Code::kCorrupt, name_ + " is not an overlay");
  read_all(fd_.get(), name_, 0, &header, sizeof header);
  if (std::memcmp(header.magic, kOverlayMagic, sizeof kOverlayMagic) != 0)
    throw Error(Code::kCorrupt, name_ + " is not an overlay");
  if (header.version != kOverlayVersion || header.cluster != kCluster)
    throw Error(Code::kUnsupported, "another version of hyperhost wrote the overlay " + name_);
  const Fingerprint checksum = checksum_of(header);
  if (std::memcmp(header.checksum, checksum.data(), checksum.size()) != 0)
    throw Error(Code::kCorrupt, "the header of the overlay " + name_ + " is damaged");
  if (header.length != length || std::memcmp(header.base, base.data(), base.size()) != 0)
    throw Error(Code::kConfig, "the overlay " + name_ + " belongs to another disk", "",
                "name the disk that it was made over, or another file");
  if (size != data_ + length)
    throw Error(Code::kCorrupt, "the overlay " + name_ + " has " + std::to_string(size) +
                                    " bytes instead of " + std::to_string(data_ + length));
  load_map(map, length);
}

void OverlayFile::load_map(OverlayMap& map, uint64_t length) const {
  const uint64_t end = kHeaderBytes + map_bytes_;
  const uint64_t clusters = rounded(length, kCluster) / kCluster;
  for (uint64_t at = kHeaderBytes; at < end;) {
    // Pages that were never written are holes.
    const off_t data = ::lseek(fd_.get(), static_cast<off_t>(at), SEEK_DATA);
    if (data < 0 && errno == ENXIO) break;
    if (data > 0 && static_cast<uint64_t>(data) > at)
      at = kHeaderBytes + (static_cast<uint64_t>(data) - kHeaderBytes) / OverlayMap::kPageBytes *
                              OverlayMap::kPageBytes;
    if (at >= end) break;
    OverlayMap::Page page{};
    read_all(fd_.get(), name_, at, page.data(), page.size());
    const uint64_t number = (at - kHeaderBytes) / OverlayMap::kPageBytes;
    bool good = map.load(number, page);
    for (uint64_t one = std::max(clusters, number * OverlayMap::kPageClusters);
         good && one < (number + 1) * OverlayMap::kPageClusters; ++one)
      good = map.at(one) == Held::kNothing;  // behind the disk's end
    if (!good) throw Error(Code::kCorrupt, "the map of the overlay " + name_ + " is damaged");
    at += OverlayMap::kPageBytes;
  }
}

void OverlayFile::read(uint64_t offset, void* buffer, uint64_t length) const {
  read_all(fd_.get(), name_, data_ + offset, buffer, length);
}

void OverlayFile::write(uint64_t offset, const void* bytes, uint64_t length) const {
  write_all(fd_.get(), name_, data_ + offset, bytes, length);
}

void OverlayFile::punch(uint64_t offset, uint64_t length) const {
  // Where the file system cannot, the space stays taken; the map says that it is zero.
  static_cast<void>(::fallocate(fd_.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                                static_cast<off_t>(data_ + offset), static_cast<off_t>(length)));
}

void OverlayFile::sync() {
  if (lost_)
    throw hyper::Error(HYPER_IO, "the overlay " + name_ + " may have lost what was written to it",
                       "an earlier flush failed");
  if (::fdatasync(fd_.get()) == 0) return;
  lost_ = true;
  throw full(errno, name_);
}

// The map is taken first: what it speaks of was written before, and is synced before the map is.
void OverlayFile::flush(OverlayMap& map) {
  if (!kept_) return;
  const auto changed = map.take_changed();
  try {
    sync();
    for (const auto& [number, page] : changed)
      write_all(fd_.get(), name_, kHeaderBytes + number * OverlayMap::kPageBytes, page.data(),
                page.size());
    if (!changed.empty()) sync();
  } catch (...) {
    map.give_back(changed);
    throw;
  }
}

void OverlayFile::keep(const std::filesystem::path& path, OverlayMap& map) {
  kept_ = true;
  flush(map);
  // By the descriptor itself: it needs no privilege.
  const std::string itself = "/proc/self/fd/" + std::to_string(fd_.get());
  if (::flock(fd_.get(), LOCK_EX | LOCK_NB) != 0 ||
      ::linkat(AT_FDCWD, itself.c_str(), AT_FDCWD, path.c_str(), AT_SYMLINK_FOLLOW) != 0)
    throw hyper::errno_error(errno, "give the overlay its name " + path.string());
  name_ = path.string();
  sync_name(path);
}

}  // namespace hyperhost
