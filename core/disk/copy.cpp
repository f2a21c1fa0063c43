// SPDX-License-Identifier: Apache-2.0
#include "core/disk/copy.hpp"

#include <fcntl.h>
#include <openssl/evp.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <mutex>
#include <thread>
#include <vector>

#include "core/base/random_id.hpp"
#include "core/disk/local_sources.hpp"
#include "core/os/fd.hpp"
#include "core/state/host_entries.hpp"

namespace hyperhost {
namespace {

constexpr uint64_t kChunk = 1u << 20;

class Sha256Stream {
 public:
  Sha256Stream() : context_(EVP_MD_CTX_new()) {
    if (context_ == nullptr || EVP_DigestInit_ex(context_, EVP_sha256(), nullptr) != 1)
      throw Error(Code::kFail, "SHA-256 is not available in this OpenSSL");
  }
  ~Sha256Stream() { EVP_MD_CTX_free(context_); }
  Sha256Stream(const Sha256Stream&) = delete;
  Sha256Stream& operator=(const Sha256Stream&) = delete;
  void update(const void* data, uint64_t size) { EVP_DigestUpdate(context_, data, size); }
  std::string text() {
    unsigned char digest[32];
    EVP_DigestFinal_ex(context_, digest, nullptr);
    std::string out = "sha256:";
    static const char digits[] = "0123456789abcdef";
    for (const unsigned char byte : digest) {
      out += digits[byte >> 4];
      out += digits[byte & 15];
    }
    return out;
  }

 private:
  EVP_MD_CTX* context_;
};

bool is_zero(const unsigned char* data, uint64_t size) {
  return size > 0 && data[0] == 0 && std::memcmp(data, data + 1, size - 1) == 0;
}

using Write = std::function<void(uint64_t offset, const unsigned char* data, uint64_t size)>;

/// Everything in order, through one thread.
CopyResult read_in_order(const SourceHandle& source, Operation& op, const Write& write,
                         const std::function<void(uint64_t)>& on_bytes) {
  Sha256Stream sha;
  uint64_t offset = 0;
  const auto take = [&](const unsigned char* data, uint64_t size) {
    op.cancel().check();
    sha.update(data, size);
    write(offset, data, size);
    offset += size;
    if (on_bytes) on_bytes(offset);
  };
  if (source.can(HYPER_SOURCE_SEEK)) {
    std::vector<unsigned char> buffer(kChunk);
    while (offset < source.length()) {
      const uint64_t size = std::min(kChunk, source.length() - offset);
      source.read_at(op, offset, buffer.data(), size);
      take(buffer.data(), size);
    }
  } else {
    const hyper_source& table = source.table();
    for (;;) {
      hyper_span span{};
      op.check(table.next(table.ctx, &op, 0, &span), "reading the source's stream");
      if (span.len == 0) break;
      struct Release {
        const hyper_source& from;
        hyper_span& lent;
        ~Release() {
          if (from.release != nullptr) from.release(from.ctx, &lent);
        }
      } release{table, span};
      if (span.data == nullptr || span.len > UINT64_MAX - offset)
        throw Error(Code::kFail, "the source's stream gave a span without data");
      take(static_cast<const unsigned char*>(span.data), span.len);
    }
    if (table.length != HYPER_LENGTH_UNKNOWN && offset != table.length)
      throw Error(Code::kCorrupt, "the source ended at byte " + std::to_string(offset) + " of " +
                                      std::to_string(table.length));
  }
  return {offset, sha.text()};
}

/// Whole parts by several threads.
CopyResult copy_parts(const SourceHandle& source, const SinkHandle& sink, Operation& op,
                      unsigned threads, const std::function<void(uint64_t)>& on_bytes) {
  const uint64_t part = sink.table().part_size;
  std::mutex mutex;
  std::exception_ptr error;
  uint64_t next = 0, done = 0;
  {
    std::vector<std::jthread> pool;
    for (unsigned i = 0; i < threads; ++i)
      pool.emplace_back([&] {
        try {
          std::vector<unsigned char> buffer(std::min(part, std::max<uint64_t>(source.length(), 1)));
          for (;;) {
            uint64_t offset = 0;
            {
              const std::lock_guard lock(mutex);
              if (error || next >= source.length()) return;
              offset = next;
              next += std::min(part, source.length() - next);
            }
            op.cancel().check();
            const uint64_t size = std::min(part, source.length() - offset);
            source.read_at(op, offset, buffer.data(), size);
            op.check(sink.table().write_at(sink.table().ctx, &op, 0, offset, buffer.data(), size),
                     "writing to the store");
            const std::lock_guard lock(mutex);
            done += size;
            if (on_bytes) on_bytes(done);
          }
        } catch (...) {
          const std::lock_guard lock(mutex);
          if (!error) error = std::current_exception();
        }
      });
  }
  if (error) std::rethrow_exception(error);
  return {source.length(), {}};
}

}  // namespace

CopyResult copy_source(const SourceHandle& source, const SinkHandle& sink, Operation& op,
                       unsigned threads, const std::function<void(uint64_t)>& on_bytes) {
  const hyper_sink& table = sink.table();
  if (source.can(HYPER_SOURCE_SEEK) && sink.can(HYPER_SINK_PARTS))
    return copy_parts(
        source, sink, op,
        std::max(1u, std::min({threads, table.max_parallel, source.table().max_parallel})),
        on_bytes);
  if (!sink.can(HYPER_SINK_RANDOM) && !sink.can(HYPER_SINK_APPEND) && !sink.can(HYPER_SINK_PARTS))
    throw Error(Code::kUnsupported, "this store cannot be written to in order");
  // A stream into parts: collected until a part is whole.
  std::vector<unsigned char> part;
  uint64_t part_offset = 0;
  const auto flush = [&] {
    if (part.empty()) return;
    op.check(table.write_at(table.ctx, &op, 0, part_offset, part.data(), part.size()),
             "writing to the store");
    part_offset += part.size();
    part.clear();
  };
  const Write write = [&](uint64_t offset, const unsigned char* data, uint64_t size) {
    if (sink.can(HYPER_SINK_RANDOM) || sink.can(HYPER_SINK_APPEND)) {
      if (sink.can(HYPER_SINK_RANDOM) && size >= 64 * 1024 && is_zero(data, size)) return;
      op.check(table.write_at(table.ctx, &op, 0, offset, data, size), "writing to the target");
      return;
    }
    while (size > 0) {
      const uint64_t room = std::min(size, table.part_size - part.size());
      part.insert(part.end(), data, data + room);
      if (part.size() == table.part_size) flush();
      data += room;
      size -= room;
    }
  };
  CopyResult result = read_in_order(source, op, write, on_bytes);
  flush();
  return result;
}

std::unique_ptr<SourceHandle> stage_source(const SourceHandle& source, const std::string& directory,
                                           const std::string& name, Operation& op,
                                           const std::function<void(uint64_t)>& on_bytes) {
  struct Unlink {
    Unlink(std::string file, std::unique_ptr<HostEntry> opened)
        : path(std::move(file)), entry(std::move(opened)) {}
    Unlink(const Unlink&) = delete;  // a copy would remove the file when it goes
    Unlink& operator=(const Unlink&) = delete;
    ~Unlink() { ::unlink(path.c_str()); }
    const std::string path;
    const std::unique_ptr<HostEntry> entry;
  };
  std::error_code created;
  std::filesystem::create_directories(directory, created);
  const std::string file = "." + name + kStagingMark + random_id();
  const std::string path = directory + "/" + file;
  auto unlink = std::make_shared<Unlink>(
      path, std::make_unique<HostEntry>(op.services().journal, kStagingEntry, directory, file));
  const Fd fd(::open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (!fd.valid()) throw errno_error(errno, "create a staging file in " + directory);
  const auto write = [&](uint64_t offset, const unsigned char* data, uint64_t size) {
    if (size >= 4096 && is_zero(data, size)) return;  // stays a hole
    while (size > 0) {
      const ssize_t put = ::pwrite(fd.get(), data, size, static_cast<off_t>(offset));
      if (put < 0 && errno == EINTR) continue;
      if (put < 0) throw errno_error(errno, "write the staging file " + path);
      data += put;
      offset += static_cast<uint64_t>(put);
      size -= static_cast<uint64_t>(put);
    }
  };
  const CopyResult copied = read_in_order(source, op, write, on_bytes);
  if (::ftruncate(fd.get(), static_cast<off_t>(copied.bytes)) != 0)
    throw errno_error(errno, "set the length of the staging file " + path);
  auto staged = open_file_source(path, source.format());
  staged->keep = unlink;
  return staged;
}

}  // namespace hyperhost
