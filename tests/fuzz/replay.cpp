// SPDX-License-Identifier: Apache-2.0
// Runs a fuzz target without libFuzzer: every file of a corpus as it is, then the same mutants of
// it in every run. The normal suite does this with every compiler and sanitizer.
//   fuzz_replay TARGET [--mutants N] [--last FILE] DIRECTORY|FILE…
// --last writes each input before it runs: after a crash FILE has the one that crashed.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <vector>

#include "tests/fuzz/compare_qemu.hpp"
#include "tests/fuzz/fuzz.hpp"

// The entry of each target, by the name that its build gives it.
#define TARGET(name) extern "C" int fuzz_##name(const uint8_t* data, std::size_t size);
FUZZ_TARGETS
#undef TARGET

namespace {

using Entry = int (*)(const uint8_t*, std::size_t);

Entry entry_of(const std::string& name) {
#define TARGET(known) \
  if (name == #known) return fuzz_##known;
  FUZZ_TARGETS
#undef TARGET
  return nullptr;
}

using Bytes = std::vector<uint8_t>;

Bytes load(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return Bytes(std::istreambuf_iterator<char>(file), {});
}

void run(Entry entry, const Bytes& input, const char* last) {
  if (last != nullptr)
    std::ofstream(last, std::ios::binary)
        .write(reinterpret_cast<const char*>(input.data()),
               static_cast<std::streamsize>(input.size()));
  // A block of its own, so that AddressSanitizer sees a read beyond its end.
  const Bytes exact(input.begin(), input.end());
  entry(exact.data(), exact.size());
}

/// A damage that parsers meet: flipped bits, a number at a limit, a cut, a part twice.
Bytes mutant(Bytes bytes, std::mt19937& random) {
  static constexpr uint64_t kNumbers[] = {0,      1,          0x7f,       0xff,       0x7fff,
                                          0xffff, 0x7fffffff, 0x80000000, 0xffffffff, ~uint64_t{0}};
  if (bytes.empty()) return bytes;
  for (unsigned changes = random() % 4 + 1; changes != 0; --changes) {
    const std::size_t at = random() % bytes.size();
    const std::size_t length =
        std::min<std::size_t>(std::size_t{1} << random() % 4, bytes.size() - at);
    const uint64_t number = kNumbers[random() % std::size(kNumbers)];
    switch (random() % 5) {
      case 0:
        bytes[at] = static_cast<uint8_t>(bytes[at] ^ (1u << random() % 8));
        break;
      case 1:
        std::memcpy(&bytes[at], &number, length);
        break;
      case 2:
        std::reverse(bytes.begin() + static_cast<std::ptrdiff_t>(at),
                     bytes.begin() + static_cast<std::ptrdiff_t>(at + length));
        break;
      case 3: {
        const Bytes part(bytes.begin() + static_cast<std::ptrdiff_t>(at),
                         bytes.begin() + static_cast<std::ptrdiff_t>(at + length));
        bytes.insert(bytes.begin() + static_cast<std::ptrdiff_t>(random() % bytes.size()),
                     part.begin(), part.end());
        break;
      }
      default:
        if (random() % 8 == 0) bytes.resize(at + 1);
    }
  }
  return bytes;
}

}  // namespace

int main(int argc, char** argv) {
  const Entry entry = argc > 1 ? entry_of(argv[1]) : nullptr;
  if (entry == nullptr) {
    std::fprintf(stderr,
                 "fuzz_replay: the first argument is the name of a target: tests/fuzz/targets\n");
    return 2;
  }
  int mutants = 0;
  const char* last = nullptr;
  std::vector<std::filesystem::path> files;
  for (int i = 2; i < argc; ++i) {
    if (std::strcmp(argv[i], "--mutants") == 0 && i + 1 < argc)
      mutants = std::atoi(argv[++i]);
    else if (std::strcmp(argv[i], "--last") == 0 && i + 1 < argc)
      last = argv[++i];
    else if (std::filesystem::is_directory(argv[i]))
      for (const auto& entry : std::filesystem::directory_iterator(argv[i]))
        files.push_back(entry.path());
    else
      files.emplace_back(argv[i]);
  }
  std::sort(files.begin(), files.end());
  std::size_t runs = 0;
  for (const auto& path : files) {
    const Bytes original = load(path);
    std::fprintf(stderr, "%s\n", path.filename().c_str());  // the last line names what crashed
    run(entry, original, last);
    std::mt19937 random(1);
    for (int i = 0; i < mutants; ++i) run(entry, mutant(original, random), last);
    runs += 1 + static_cast<std::size_t>(mutants);
  }
  std::printf("%zu files, %zu runs, %u of them read by qemu-img too\n", files.size(), runs,
              fuzz::compared());
  const bool to_compare = std::getenv("HYPERHOST_FUZZ_QEMU_IMG") != nullptr;
  return files.empty() || (to_compare && fuzz::compared() == 0) ? 1 : 0;
}
