// SPDX-License-Identifier: Apache-2.0
// hyper.image/1: reads what it says it reads, says no to the rest, and survives damage.
#include <algorithm>
#include <chrono>
#include <optional>
#include <random>

#include "core/check/resources.hpp"
#include "core/check/run.hpp"
#include "core/check/source_suite.hpp"
#include "core/disk/local_sources.hpp"

namespace hyperhost::check {
namespace {

constexpr uint64_t kMostInMemory = 64u << 20;

struct Sample {
  std::string name;
  Bytes bytes;
  const Bytes* guest = nullptr;  ///< what is in it, where that is known
  std::string file;              ///< where it is too large for `bytes`
};

/// Empty where it is larger than 64 MiB: it is read where it is, and not damaged.
Bytes read_sample(const std::string& path) {
  const auto file = open_file_source(path);
  if (file->length() > kMostInMemory) return {};
  Bytes bytes(file->length());
  Operation op = operation(path);
  file->read_at(op, 0, bytes.data(), bytes.size());
  return bytes;
}

std::string format_of(const nlohmann::json& probed) {
  const auto found = probed.find("format");
  return found != probed.end() && found->is_string() ? found->get<std::string>() : std::string();
}

/// Formats with signatures are known by them: probe() takes nothing that has none of them.
void knows_its_signatures(Run& run, const ImageReader& reader) {
  const auto formats = run.manifest().value("formats", nlohmann::json::array());
  Bytes noise(256 * 1024);
  std::mt19937 random(77);
  for (auto& byte : noise) byte = static_cast<unsigned char>(random());
  TestSource source(run, noise, {HYPER_SOURCE_SEEK, "", UINT64_MAX, 0});
  Operation op = operation("noise");
  run.at("probe() of noise");
  const nlohmann::json probed = reader.probe(op, *source.handle());
  if (probed.is_null()) return;
  for (const auto& format : formats)
    run.expect(format.value("name", "") != format_of(probed) ||
                   format.value("signatures", nlohmann::json::array()).empty(),
               "probe() takes noise for the format '" + format_of(probed) +
                   "', which its manifest knows by a signature");
}

}  // namespace

void case_image(Run& run) {
  const ImageReader reader(run.plugin(), run.options(HYPER_IFACE_IMAGE));
  knows_its_signatures(run, reader);
  const Bytes guest = disk_bytes(3u << 20);
  std::vector<Sample> samples{{"a qcow2 image", qcow2_of(guest), &guest, {}},
                              {"a raw disk", guest, &guest, {}}};
  for (const std::string& path : run.settings().samples)
    samples.push_back({path, read_sample(path), nullptr, path});
  int read = 0;
  for (const Sample& sample : samples) {
    // From memory, and where that will not do, from a file that other programs can read.
    const bool large = sample.bytes.empty() && !sample.file.empty();
    const std::string path = large ? sample.file : run.scratch() + "/sample";
    if (!large) write_file(path, sample.bytes);
    TestSource memory(run, sample.bytes,
                      {HYPER_SOURCE_SEEK | HYPER_SOURCE_EXTENTS, "", UINT64_MAX, 0});
    const std::shared_ptr<SourceHandle> file = open_file_source(path);
    std::string format;
    for (const auto& source : {memory.handle(), file}) {
      if (large && source != file) continue;
      Operation op = operation(sample.name);
      run.at("probe() of " + sample.name);
      nlohmann::json probed;
      try {
        probed = reader.probe(op, *source);
        if (!probed.is_null()) {
          format = format_of(probed);
          run.at("open() of " + sample.name);
          const auto image = reader.open(op, source, format);
          const auto size = probed.value("virtual_size", nlohmann::json());
          run.expect(size.is_null() || size == image->length(),
                     "probe() of " + sample.name + " says virtual_size " + size.dump() +
                         ", and open() gives a disk of " + std::to_string(image->length()));
        }
      } catch (const Error& error) {
        if (error.code() != Code::kUnsupported || source == file)
          run.stop(sample.name + " cannot be read: " + error.what());
        run.note("it reads from files only: " + error.diagnostic().summary);
        continue;
      }
      if (probed.is_null()) continue;
      ++read;
      check_source(
          run, sample.name + " as " + format,
          [&](Operation& opening, uint32_t) { return reader.open(opening, source, format); },
          sample.guest);
      break;
    }
    memory.expect_all_released();
    run.expect(!format.empty() || sample.guest != nullptr,
               "it does not read the sample " + sample.name);
  }
  if (read == 0)
    run.skip("it reads neither qcow2 nor raw; give an image that it reads with --sample FILE");
}

void case_image_again(Run& run) {
  const ImageReader reader(run.plugin(), run.options(HYPER_IFACE_IMAGE));
  std::vector<Bytes> samples{qcow2_of(disk_bytes(1u << 20)), disk_bytes(1u << 20)};
  for (const std::string& path : run.settings().samples) samples.push_back(read_sample(path));
  const std::string path = run.scratch() + "/again";
  for (const Bytes& sample : samples) {
    if (sample.empty()) continue;
    write_file(path, sample);
    const std::shared_ptr<SourceHandle> file = open_file_source(path);
    nlohmann::json probed;
    expect_no_growth(run, "probe()", 4, [&] {
      run.at("probe()");
      Operation op = operation("probe");
      probed = reader.probe(op, *file);
    });
    if (probed.is_null()) continue;
    expect_no_growth(run, "open(), read_at(), extents() and close()", 3, [&] {
      run.at("open()");
      Operation op = operation("open");
      const auto image = reader.open(op, file, format_of(probed));
      Bytes bytes(std::min<uint64_t>(image->length(), 64 * 1024));
      image->read_at(op, 0, bytes.data(), bytes.size());
      const auto ignore = [](void*, const hyper_extent*) noexcept -> hyper_st { return HYPER_OK; };
      if (image->can(HYPER_SOURCE_EXTENTS))
        op.check(
            image->table().extents(image->table().ctx, &op, 0, 0, image->length(), ignore, nullptr),
            "extents()");
    });
  }
}

namespace {

/// The half of an image is no whole one: who opens it reports what is missing, where it is read at
/// the latest. A shorter disk (raw) is one, too.
void truncated(Run& run, const ImageReader& reader, const Bytes& sample, const std::string& name) {
  const auto whole_disk = [&](const Bytes& bytes) -> std::optional<Bytes> {
    TestSource source(run, bytes, {HYPER_SOURCE_SEEK, "", UINT64_MAX, 0});
    try {
      Operation op = operation("truncated");
      run.at("open() of the first half of " + name);
      const nlohmann::json probed = reader.probe(op, *source.handle());
      if (probed.is_null()) return std::nullopt;
      const auto image = reader.open(op, source.handle(), format_of(probed));
      if (image->length() > (64u << 20)) return std::nullopt;
      Bytes out(image->length());
      run.at("read_at() of the first half of " + name);
      image->read_at(op, 0, out.data(), out.size());
      return out;
    } catch (const Error&) {
      return std::nullopt;
    }
  };
  const auto whole = whole_disk(sample);
  const auto half = whole_disk(
      Bytes(sample.begin(), sample.begin() + static_cast<std::ptrdiff_t>(sample.size() / 2)));
  run.expect(!whole || !half || half->size() != whole->size() || *half == *whole,
             "read_at() of the first half of " + name +
                 " gives a whole disk with other bytes, and reports nothing");
}

}  // namespace

void case_image_damaged(Run& run) {
  const ImageReader reader(run.plugin(), run.options(HYPER_IFACE_IMAGE));
  std::mt19937_64 random(11);
  std::vector<Bytes> samples{qcow2_of(disk_bytes(1u << 20))};
  for (const std::string& path : run.settings().samples) samples.push_back(read_sample(path));
  const auto tried = [&](const Bytes& bytes, uint64_t fails_at, const std::string& what) {
    TestSource source(run, bytes, {HYPER_SOURCE_SEEK, "", fails_at, 0});
    run.at("probe() of " + what);
    try {
      Operation op = operation("probe");
      const nlohmann::json probed = reader.probe(op, *source.handle());
      if (!probed.is_null()) {
        run.at("open() of " + what);
        Operation opening = operation("open");
        const auto image = reader.open(opening, source.handle(), format_of(probed));
        Bytes buffer(std::min<uint64_t>(image->length(), 64 * 1024));
        run.at("read_at() of " + what);
        for (int i = 0; i < 4 && !buffer.empty(); ++i)
          image->read_at(opening, random() % (image->length() - buffer.size() + 1), buffer.data(),
                         buffer.size());
      }
    } catch (const Error& error) {
      run.expect_error(what, [&] { throw Error(error.diagnostic()); });
    }
    source.expect_all_released();
  };
  for (std::size_t i = 0; i < samples.size(); ++i)
    if (!samples[i].empty())
      truncated(run, reader, samples[i],
                i == 0 ? std::string("a qcow2 image") : run.settings().samples[i - 1]);
  for (const std::size_t size : {0u, 1u, 3u, 511u, 512u, 4096u, 70000u}) {
    Bytes noise(size);
    for (auto& byte : noise) byte = static_cast<unsigned char>(random());
    tried(noise, UINT64_MAX, std::to_string(size) + " bytes of noise");
    tried(Bytes(size, 0), UINT64_MAX, std::to_string(size) + " zero bytes");
  }
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(2);
  for (int i = 0; i < 150 && std::chrono::steady_clock::now() < end; ++i)
    for (const Bytes& sample : samples) {
      if (sample.empty()) continue;
      Bytes damaged = sample;
      // Mostly in its front, where headers are.
      for (int n = 0; n < 1 + i % 4; ++n)
        damaged[random() %
                (i % 3 == 0 ? damaged.size() : std::min<std::size_t>(512, damaged.size()))] =
            static_cast<unsigned char>(random());
      if (i % 5 == 0) damaged.resize(random() % damaged.size());
      tried(damaged, UINT64_MAX, "a damaged image");
      if (i % 10 == 0) tried(sample, random() % sample.size(), "an image on a broken disk");
    }
}

}  // namespace hyperhost::check
