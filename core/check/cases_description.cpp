// SPDX-License-Identifier: Apache-2.0
// hyper.provider/1: what a description promises is what open_disk() gives, and a content id is the
// same as long as the content is, and another one afterwards.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <map>
#include <utility>

#include "core/check/provider_vms.hpp"
#include "core/check/traces.hpp"
#include "core/os/fd.hpp"

namespace hyperhost::check {
namespace {

constexpr uint64_t kSmall = 16u << 20;  // disks of which all bytes are compared

struct AccessWord {
  const char* text;
  uint32_t flag;
};
constexpr AccessWord kAccessWords[] = {{"seek", HYPER_SOURCE_SEEK},
                                       {"stream", HYPER_SOURCE_STREAM},
                                       {"file", HYPER_SOURCE_FILE},
                                       {"extents", HYPER_SOURCE_EXTENTS},
                                       {"sibling", HYPER_SOURCE_SIBLING}};

/// 0 where it is not said.
uint64_t number_of(const nlohmann::json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_number_unsigned() ? found->get<uint64_t>() : 0;
}

void promised_access(Run& run, const OpenedDisk& disk, const SourceHandle& seek,
                     const SourceHandle& stream) {
  for (const auto& listed : disk.description.value("access", nlohmann::json::array()))
    for (const AccessWord& word : kAccessWords) {
      if (listed != word.text) continue;
      const bool kept =
          word.flag == HYPER_SOURCE_STREAM ? stream.can(word.flag) : seek.can(word.flag);
      run.expect(kept, "describe_vm() says that " + disk.name() + " has the access \"" + word.text +
                           "\", and open_disk() gives a source without it");
    }
  // What is offered and not promised is only lost; what is neither cannot be read.
  run.expect(seek.can(HYPER_SOURCE_SEEK) || stream.can(HYPER_SOURCE_STREAM),
             "open_disk() of " + disk.name() + " gives neither what seeks nor a stream");
}

void promised_size(Run& run, const OpenedDisk& disk, const std::shared_ptr<SourceHandle>& source) {
  const uint64_t capacity = number_of(disk.description, "capacity_bytes");
  const uint64_t bytes = number_of(disk.description, "bytes");
  const std::string what = "describe_vm() says of " + disk.name() + ": ";
  if (bytes != 0 && source->length() != HYPER_LENGTH_UNKNOWN)
    run.expect(bytes == source->length(), what + "bytes " + std::to_string(bytes) +
                                              ", and open_disk() gives " +
                                              std::to_string(source->length()));
  if (capacity == 0) return;
  const std::string format = source->format();
  if (format == "raw" && source->length() != HYPER_LENGTH_UNKNOWN) {
    run.expect(capacity == source->length(), what + "capacity_bytes " + std::to_string(capacity) +
                                                 ", and open_disk() gives " +
                                                 std::to_string(source->length()));
    return;
  }
  if (!source->can(HYPER_SOURCE_SEEK)) return;
  Operation op = operation(disk.name());
  for (const auto& reader : run.readers()) {
    run.at("reading " + disk.name() + " with " + reader->plugin().id());
    if (reader->probe(op, *source).is_null()) continue;
    const auto image = reader->open(op, source, format);
    run.expect(capacity == image->length(), what + "capacity_bytes " + std::to_string(capacity) +
                                                ", and the disk in it has " +
                                                std::to_string(image->length()));
    return;
  }
}

/// A raw stream without a length ends at the capacity. Read up to 96 MiB.
void promised_stream(Run& run, const OpenedDisk& disk, const SourceHandle& stream) {
  const uint64_t capacity = number_of(disk.description, "capacity_bytes");
  if (!stream.can(HYPER_SOURCE_STREAM) || stream.format() != "raw" || capacity == 0 ||
      capacity > (96u << 20))
    return;
  uint64_t at = 0;
  Operation op = operation(disk.name());
  run.at("next() of " + disk.name());
  while (at <= capacity) {
    hyper_span span{};
    op.check(stream.table().next(stream.table().ctx, &op, 0, &span), "next()");
    if (span.len == 0) break;
    at += span.len;
    if (stream.table().release != nullptr) stream.table().release(stream.table().ctx, &span);
  }
  run.expect(at == capacity, "describe_vm() says of " + disk.name() + ": capacity_bytes " +
                                 std::to_string(capacity) + ", and next() gives " +
                                 (at > capacity ? "more" : std::to_string(at)));
}

using Ids = std::map<std::string, std::string>;  // by VM and disk

Ids content_ids(Run& run, ProviderHandle& provider) {
  Ids out;
  for (const ListedVm& vm : some_vms(run, provider))
    for (const OpenedDisk& disk : disks_of(run, describe_vm(run, provider, vm.ref), vm.name))
      out[vm.ref + "\n" + disk.id] = text_of(disk.description, "content_id");
  return out;
}

/// All bytes of small disks, as open_disk() gives them.
std::map<std::string, Bytes> contents(Run& run, ProviderHandle& provider) {
  std::map<std::string, Bytes> out;
  for (const ListedVm& listed : some_vms(run, provider)) {
    const auto disks = disks_of(run, describe_vm(run, provider, listed.ref), listed.name);
    Operation op = operation(listed.name);
    run.at("open_vm(\"" + listed.ref + "\")");
    const auto vm = provider.open_vm(op, vm_request(listed.ref));
    for (const OpenedDisk& disk : disks) {
      run.at("open_disk(\"" + disk.id + "\")");
      const auto source = vm->open_disk(op, disk.id, HYPER_OPEN_SEEK);
      if (!source->can(HYPER_SOURCE_SEEK) || source->length() > kSmall) continue;
      Bytes bytes(source->length());
      source->read_at(op, 0, bytes.data(), bytes.size());
      out[listed.ref + "\n" + disk.id] = std::move(bytes);
    }
    close_vm(run, *vm, HYPER_OK);
  }
  return out;
}

/// Changes a byte in the middle of each file; size and time of the last change stay as they were,
/// as `cp -p` and `rsync --inplace -t` leave them.
void change_in_place(const std::string& directory) {
  for (const auto& [name, facts] : files_below(directory)) {
    const std::string path = directory + "/" + name;
    struct stat info {};
    const Fd file(::open(path.c_str(), O_RDWR | O_CLOEXEC));
    unsigned char byte = 0;
    if (!file.valid() || ::fstat(file.get(), &info) != 0) throw errno_error(errno, "open " + path);
    // Not in a header: what is in the middle of these images is the guest's.
    const off_t middle = info.st_size / 2;
    if (info.st_size == 0 || ::pread(file.get(), &byte, 1, middle) != 1) continue;
    byte ^= 0x55;
    const timespec times[] = {info.st_atim, info.st_mtim};
    if (::pwrite(file.get(), &byte, 1, middle) != 1 || ::futimens(file.get(), times) != 0)
      throw errno_error(errno, "change " + path);
  }
}

/// An open_vm() whose request names another content than there is.
void changed_content_is_refused(Run& run, ProviderHandle& provider, const std::string& key,
                                const std::string& old_id) {
  const std::string ref = key.substr(0, key.find('\n')), disk = key.substr(key.find('\n') + 1);
  nlohmann::json request = vm_request(ref);
  request["content_ids"] = {{disk, old_id}};
  const std::string call = "open_vm() with the content_ids of another content";
  run.at(call);
  run.expect_error(call,
                   [&] {
                     Operation op = operation(ref);
                     const auto vm = provider.open_vm(op, request);
                     close_vm(run, *vm, HYPER_FAIL);
                   },
                   {Code::kBusy});
}

void content_ids_follow_the_content(Run& run) {
  const std::string made = run.made_directory(HYPER_IFACE_PROVIDER);
  Operation op = operation("connect");
  auto provider = run.connect_provider(op);
  const Ids before = content_ids(run, *provider);
  for (const auto& [key, id] : content_ids(run, *provider))
    run.expect(id == before.at(key), "describe_vm() gives another content_id the second time: \"" +
                                         before.at(key) + "\", then \"" + id + "\"");
  if (made.empty()) return;
  const auto old = contents(run, *provider);
  provider.reset();
  change_in_place(made);
  provider = run.connect_provider(op);
  const Ids after = content_ids(run, *provider);
  const auto now = contents(run, *provider);
  bool tried = false;
  for (const auto& [key, bytes] : old) {
    if (before.at(key).empty() || now.count(key) == 0 || now.at(key) == bytes) continue;
    run.expect(after.at(key) != before.at(key),
               "describe_vm() gives the same content_id for a disk that was changed in place");
    if (after.at(key) == before.at(key) || std::exchange(tried, true)) continue;
    changed_content_is_refused(run, *provider, key, before.at(key));
  }
}

}  // namespace

void case_provider_description(Run& run) {
  Operation op = operation("connect");
  {
    const auto provider = run.connect_provider(op);
    for (const ListedVm& listed : some_vms(run, *provider)) {
      const auto description = describe_vm(run, *provider, listed.ref);
      const auto count = listed.summary.value("disks", nlohmann::json());
      const auto disks = description.value("disks", nlohmann::json::array());
      run.expect(!count.is_number() || count == disks.size(),
                 "list_vms() says that '" + listed.name + "' has " + count.dump() +
                     " disks, and describe_vm() lists " + std::to_string(disks.size()));
      run.expect(text_of(description, "name") == listed.name,
                 "describe_vm(\"" + listed.ref + "\") describes another VM: '" +
                     text_of(description, "name") + "'");
    }
    each_disk(run, *provider, [&](ProviderVmHandle& vm, const OpenedDisk& disk) {
      Operation opening = operation(disk.name());
      run.at("open_disk() of " + disk.name());
      const std::shared_ptr<SourceHandle> seek = vm.open_disk(opening, disk.id, HYPER_OPEN_SEEK);
      const auto stream = vm.open_disk(opening, disk.id, HYPER_OPEN_STREAM);
      promised_access(run, disk, *seek, *stream);
      promised_stream(run, disk, *stream);
      promised_size(run, disk, seek);
    });
  }
  content_ids_follow_the_content(run);
}

}  // namespace hyperhost::check
