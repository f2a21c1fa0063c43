// SPDX-License-Identifier: Apache-2.0
// hyper.converter/1 with a disk of more than 4 GiB. Both ends are sparse files.
#include <algorithm>
#include <filesystem>

#include "core/check/conversion.hpp"
#include "core/check/large_disk.hpp"
#include "core/disk/content.hpp"
#include "core/disk/local_sources.hpp"
#include "core/os/fd.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>

namespace hyperhost::check {
namespace {

/// A file as a sink with random writes; zeros become holes.
class FileSink {
 public:
  FileSink(const Plugin& plugin, const std::string& path)
      : file_(::open(path.c_str(), O_CREAT | O_TRUNC | O_RDWR | O_NOFOLLOW | O_CLOEXEC, 0600)),
        handle_(plugin) {
    if (!file_.valid()) throw errno_error(errno, "create " + path);
    hyper_sink& table = *handle_.out();
    table.ctx = this;
    table.flags = HYPER_SINK_RANDOM;
    table.block_min = 1;
    table.max_parallel = 4;
    table.write_at = [](void* ctx, hyper_op* op, uint32_t, uint64_t offset, const void* buf,
                        uint64_t len) noexcept {
      return static_cast<FileSink*>(ctx)->write(op, offset, buf, len);
    };
    table.zero_at = [](void*, hyper_op*, uint32_t, uint64_t, uint64_t) noexcept -> hyper_st {
      return HYPER_OK;  // nothing is written twice by who converts a disk
    };
    table.sync = [](void*, hyper_op*, uint32_t) noexcept -> hyper_st { return HYPER_OK; };
    table.close = [](void*, hyper_op*) noexcept {};
  }
  const SinkHandle& handle() const { return handle_; }
  void end_at(uint64_t length) const {
    if (::ftruncate(file_.get(), static_cast<off_t>(length)) != 0)
      throw errno_error(errno, "set the length of a file");
  }

 private:
  hyper_st write(hyper_op* op, uint64_t offset, const void* buf, uint64_t len) const noexcept {
    const auto* bytes = static_cast<const unsigned char*>(buf);
    if (std::all_of(bytes, bytes + len, [](unsigned char byte) { return byte == 0; }))
      return HYPER_OK;
    for (uint64_t done = 0; done < len;) {
      const ssize_t wrote =
          ::pwrite(file_.get(), bytes + done, len - done, static_cast<off_t>(offset + done));
      if (wrote <= 0) return report_to(op, errno_error(errno, "write a file").diagnostic());
      done += static_cast<uint64_t>(wrote);
    }
    return HYPER_OK;
  }
  const Fd file_;
  SinkHandle handle_;
};

}  // namespace

void case_converter_large(Run& run) {
  const OpenedConverter opened(run, 1u << 20);
  const auto plan =
      std::find_if(opened.planned.begin(), opened.planned.end(), [](const Planned& one) {
        return std::find(one.sinks.begin(), one.sinks.end(), "random") != one.sinks.end();
      });
  if (plan == opened.planned.end()) run.skip("it writes no sink with random writes");
  const std::string disk = run.scratch() + "/large.raw", image = run.scratch() + "/large.image";
  write_large_disk(disk);
  const auto source = open_file_source(disk, "raw");
  const FileSink sink(opened.converter->plugin(), image);
  const std::string call = "convert() of a disk of more than 4 GiB to " + plan->format;
  run.at(call);
  Operation op = operation("large");
  const nlohmann::json result = opened.converter->convert(
      op, conversion_request(plan->format, kLargeDisk), *source, sink.handle());
  sink.end_at(result.value("bytes_written", uint64_t{0}));
  const std::shared_ptr<SourceHandle> file = open_file_source(image, plan->format);
  const auto compared = [&](const SourceHandle& guest) {
    const auto difference = compare_content(*source, guest, op, 2, true);
    run.expect(!difference, call + ": byte " + std::to_string(difference ? difference->offset : 0) +
                                " is not what was read");
  };
  if (plan->format == "raw") return compared(*file);
  for (const auto& reader : run.readers()) {
    if (reader->probe(op, *file).is_null()) continue;
    return compared(*reader->open(op, file, plan->format));
  }
  run.note("no installed plugin reads " + plan->format);
}

}  // namespace hyperhost::check
