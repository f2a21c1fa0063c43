// SPDX-License-Identifier: Apache-2.0
// Disks to convert: generated raw files, and qemu-img as the other implementation.
#pragma once

#include <gtest/gtest.h>
#include <sys/wait.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <random>
#include <string>
#include <vector>

namespace hyper::test {

/// A directory that is gone afterwards.
class Scratch {
 public:
  Scratch() {
    std::string pattern = (std::filesystem::temp_directory_path() / "disk-XXXXXX").string();
    path_ = ::mkdtemp(pattern.data());
  }
  ~Scratch() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  std::string operator/(const std::string& name) const { return (path_ / name).string(); }

 private:
  std::filesystem::path path_;
};

inline bool run(const std::string& command) {
  const int status = std::system((command + " >/dev/null 2>&1").c_str());
  return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}
inline bool have_qemu() {
  static const bool have = run("qemu-img --version");
  return have;
}
inline bool qemu(const std::string& arguments) {
  return run("qemu-img " + arguments);
}

#define NEED_QEMU()                                                                        \
  do {                                                                                     \
    if (!::hyper::test::have_qemu()) {                                                     \
      if (std::getenv("CI") != nullptr) FAIL() << "qemu-img is not installed";             \
      GTEST_SKIP() << "qemu-img is not installed: no second implementation to compare to"; \
    }                                                                                      \
  } while (false)

inline std::string slurp(const std::string& path) {
  std::ifstream file(path, std::ios::binary | std::ios::ate);
  std::string bytes(file ? static_cast<std::size_t>(file.tellg()) : 0, '\0');
  file.seekg(0);
  file.read(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  return bytes;
}
inline void spew(const std::string& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary | std::ios::trunc) << bytes;
}

inline constexpr const char* kWords[] = {"the     ", "quick   ", "brown   ", "fox\n    ",
                                         "jumps   ", "over    ", "lazy    ", "dog\n    "};

/// A raw disk: runs of noise, text and single bytes, of `fill` bytes in all, spread over its size.
inline void make_disk(const std::string& path, uint64_t size, uint64_t fill, unsigned seed) {
  spew(path, "");
  std::filesystem::resize_file(path, size);
  std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
  std::mt19937_64 random(seed);
  const auto put = [&](uint64_t at, std::string bytes) {
    bytes.resize(std::min<uint64_t>(bytes.size(), size - at));
    file.seekp(static_cast<std::streamoff>(at));
    file.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  };
  for (uint64_t done = 0; done < fill && size != 0;) {
    std::string run(1 + random() % 300000, '\0');
    switch (random() % 3) {
      case 0:
        for (std::size_t at = 0; at < run.size(); at += 8) {
          const uint64_t noise = random();
          std::memcpy(run.data() + at, &noise, std::min<std::size_t>(8, run.size() - at));
        }
        break;
      case 1:  // words in an order that repeats nowhere
        for (std::size_t at = 0; at < run.size(); at += 8)
          std::memcpy(run.data() + at, kWords[random() % 8],
                      std::min<std::size_t>(8, run.size() - at));
        break;
      default:
        run.back() = 1;
    }
    put(random() % size, run);
    done += run.size();
  }
  if (fill != 0 && size != 0) put(size - 1, "\x7f");
}

}  // namespace hyper::test
