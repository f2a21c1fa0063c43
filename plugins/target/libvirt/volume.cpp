// SPDX-License-Identifier: Apache-2.0
#include "plugins/target/libvirt/volume.hpp"

#include <algorithm>
#include <utility>

#include "plugins/target/file/text.hpp"

namespace hyperhost::libvirt_target {
namespace {

constexpr uint64_t kMostSent = 128u << 10;  // one message of libvirt's protocol holds it

/// A reader at any place: each read is a stream of its own.
class VolumeSource final : public hyper::Source {
 public:
  VolumeSource(virConnect* connection, Volume volume, std::string name)
      : connection_(shared(connection)), volume_(std::move(volume)), name_(std::move(name)) {
    virStorageVolInfo info{};
    if (virStorageVolGetInfoFlags(volume_.get(), &info, VIR_STORAGE_VOL_GET_PHYSICAL) != 0)
      throw failure("cannot read the size of " + name_);
    length_ = info.allocation;  // with that flag: of its file
  }
  hyper::SourceTraits traits() const override {
    hyper::SourceTraits out;
    out.flags = HYPER_SOURCE_SEEK;
    out.length = length_;
    out.block_pref = 4u << 20;
    return out;
  }
  void read_at(hyper::Op op, uint64_t offset, void* buf, uint64_t len) override {
    const Stream stream(virStreamNew(connection_.get(), 0));
    if (!stream || virStorageVolDownload(volume_.get(), stream.get(), offset, len, 0) != 0)
      throw failure("cannot read " + name_);
    for (auto* out = static_cast<char*>(buf); len > 0;) {
      if (op.cancelled()) {
        static_cast<void>(virStreamAbort(stream.get()));
        op.check_cancelled();
      }
      const int got = virStreamRecv(stream.get(), out, std::min(len, kMostSent));
      if (got < 0) throw failure("cannot read " + name_);
      if (got == 0) {
        static_cast<void>(virStreamAbort(stream.get()));
        throw hyper::Error(HYPER_CORRUPT, name_ + " became shorter");
      }
      out += got;
      len -= static_cast<uint64_t>(got);
    }
    if (virStreamFinish(stream.get()) != 0) throw failure("cannot read " + name_);
  }

 private:
  const Connection connection_;
  const Volume volume_;
  const std::string name_;
  uint64_t length_ = 0;
};

bool is_zero(const char* data, uint64_t length) {
  return length > 0 && data[0] == 0 && std::equal(data, data + length - 1, data + 1);
}

}  // namespace

VolumeName volume_name(const std::string& ref) {
  const std::size_t at = ref.find('/');
  if (at == 0 || at == std::string::npos || at + 1 == ref.size())
    throw hyper::Error(HYPER_CONFIG, "'" + ref + "' is no volume: POOL/NAME");
  return {ref.substr(0, at), ref.substr(at + 1)};
}

Volume find_volume(virConnect* connection, const VolumeName& of) {
  const Pool pool(virStoragePoolLookupByName(connection, of.pool.c_str()));
  Volume out(pool ? virStorageVolLookupByName(pool.get(), of.name.c_str()) : nullptr);
  if (!out && !is_missing()) throw failure("cannot look for " + of.ref());
  return out;
}

void delete_volume(virConnect* connection, const VolumeName& of) {
  const Volume volume = find_volume(connection, of);
  if (volume && virStorageVolDelete(volume.get(), 0) != 0 && !is_missing())
    throw failure("cannot delete " + of.ref());
}

VolumeSink::VolumeSink(hyper::Op op, virConnect* connection, NewVolume volume)
    : connection_(shared(connection)), new_(std::move(volume)) {
  if (find_volume(connection, new_.at))
    throw hyper::Error(HYPER_EXISTS, "there is a volume " + new_.at.ref());
  if (hyper::Journal::kept(op))  // before there is anything to undo
    entry_ = hyper::Journal::open(op, hyper::DocBuilder()
                                          .set("/plugin", "libvirt")
                                          .set("/kind", kVolumeEntry)
                                          .set("/where", new_.where)
                                          .set("/ref", new_.at.ref())
                                          .set("/mark", new_.mark));
  try {
    create();
  } catch (...) {
    close(op);
    throw;
  }
}

/// Its type is raw whatever is written into it: then it has just the bytes that are sent. The
/// domain names the format.
void VolumeSink::create() {
  const std::string what = "cannot make the volume " + new_.at.ref();
  const Pool pool(virStoragePoolLookupByName(connection_.get(), new_.at.pool.c_str()));
  if (!pool) throw failure(what);
  file_target::XmlWriter xml;
  xml.open("volume");
  xml.text("name", new_.at.name);
  xml.text("capacity", std::to_string(new_.length), {{"unit", "bytes"}});
  xml.text("allocation", "0", {{"unit", "bytes"}});
  xml.open("target");
  xml.empty("format", {{"type", "raw"}});
  xml.close();
  xml.close();
  volume_.reset(virStorageVolCreateXML(pool.get(), xml.done().c_str(), 0));
  if (!volume_) throw failure(what);
  made_ = true;
  stream_.reset(virStreamNew(connection_.get(), 0));
  if (!stream_ || virStorageVolUpload(volume_.get(), stream_.get(), 0, new_.length,
                                      VIR_STORAGE_VOL_UPLOAD_SPARSE_STREAM) != 0)
    throw failure(what);
}

hyper::SinkTraits VolumeSink::traits() const {
  hyper::SinkTraits out;
  out.flags = HYPER_SINK_APPEND;
  return out;
}

void VolumeSink::write_at(hyper::Op op, uint64_t, const void* buf, uint64_t len) {
  const std::string what = "cannot write " + new_.at.ref();
  written_ += len;
  for (auto* from = static_cast<const char*>(buf); len > 0;) {
    op.check_cancelled();
    const uint64_t part = std::min(len, kMostSent);
    uint64_t sent = part;
    if (is_zero(from, part)) {
      if (virStreamSendHole(stream_.get(), static_cast<long long>(part), 0) != 0)
        throw failure(what);
    } else {
      const int done = virStreamSend(stream_.get(), from, part);
      if (done < 0) throw failure(what);
      sent = static_cast<uint64_t>(done);
    }
    from += sent;
    len -= sent;
  }
}

std::string VolumeSink::commit(hyper::Op op, uint64_t length) {
  op.check_cancelled();
  if (written_ != length || length != new_.length)
    throw hyper::Error(HYPER_FAIL, "the disk has another length than was said");
  const Stream ended = std::move(stream_);
  if (virStreamFinish(ended.get()) != 0) throw failure("cannot finish " + new_.at.ref());
  made_ = false;
  settle(op);
  return hyper::DocBuilder().set("/location", new_.at.ref()).set("/bytes", length).json();
}

void VolumeSink::close(hyper::Op op) {
  if (stream_) static_cast<void>(virStreamAbort(stream_.get()));
  stream_.reset();
  if (std::exchange(made_, false) && virStorageVolDelete(volume_.get(), 0) != 0 && !is_missing())
    throw failure("cannot delete " + new_.at.ref());  // the entry stays for the cleanup
  settle(op);
}

void VolumeSink::settle(hyper::Op op) {
  if (const uint64_t entry = std::exchange(entry_, 0)) hyper::Journal::close(op, entry);
}

std::unique_ptr<hyper::Source> open_volume(virConnect* connection, const VolumeName& of) {
  Volume volume = find_volume(connection, of);
  if (!volume) throw hyper::Error(HYPER_NOTFOUND, "there is no volume " + of.ref());
  return std::make_unique<VolumeSource>(connection, std::move(volume), of.ref());
}

}  // namespace hyperhost::libvirt_target
