// SPDX-License-Identifier: Apache-2.0
// hyper.image/1: reads what it says it reads, says no to the rest, and survives damage.
#include <chrono>
#include <random>

#include "core/check/run.hpp"
#include "core/check/source_suite.hpp"
#include "core/disk/local_sources.hpp"

namespace hyperhost::check {
namespace {

struct Sample {
  std::string name;
  Bytes bytes;
  const Bytes* guest = nullptr;  ///< what is in it, where that is known
};

Bytes read_sample(const std::string& path) {
  const auto file = open_file_source(path);
  if (file->length() > (64u << 20))
    throw Error(Code::kConfig, path + " is larger than 64 MiB: give a smaller sample");
  Bytes bytes(file->length());
  Operation op = operation(path);
  file->read_at(op, 0, bytes.data(), bytes.size());
  return bytes;
}

std::string format_of(const nlohmann::json& probed) {
  const auto found = probed.find("format");
  return found != probed.end() && found->is_string() ? found->get<std::string>() : std::string();
}

}  // namespace

void case_image(Run& run) {
  const ImageReader reader(run.plugin(), run.options(HYPER_IFACE_IMAGE));
  const Bytes guest = disk_bytes(3u << 20);
  std::vector<Sample> samples{{"a qcow2 image", qcow2_of(guest), &guest},
                              {"a raw disk", guest, &guest}};
  for (const std::string& path : run.settings().samples)
    samples.push_back({path, read_sample(path), nullptr});
  int read = 0;
  for (const Sample& sample : samples) {
    // From memory, and where that will not do, from a file that other programs can read.
    const std::string path = run.scratch() + "/sample";
    write_file(path, sample.bytes);
    TestSource memory(run, sample.bytes,
                      {HYPER_SOURCE_SEEK | HYPER_SOURCE_EXTENTS, "", UINT64_MAX, 0});
    const std::shared_ptr<SourceHandle> file = open_file_source(path);
    std::string format;
    for (const auto& source : {memory.handle(), file}) {
      Operation op = operation(sample.name);
      run.at("probe() of " + sample.name);
      nlohmann::json probed;
      try {
        probed = reader.probe(op, *source);
        if (!probed.is_null()) {
          format = format_of(probed);
          run.expect(!format.empty(), "probe() of " + sample.name + " emits no format");
          run.at("open() of " + sample.name);
          static_cast<void>(reader.open(op, source, format));
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
