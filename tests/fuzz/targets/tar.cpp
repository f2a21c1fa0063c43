// SPDX-License-Identifier: Apache-2.0
// An OVA's archive. Input: a packed file (image.hpp), so that members of gigabytes are a few bytes.
#include <sys/mman.h>
#include <unistd.h>

#include <vector>

#include "plugins/provider/local-ovf/tar_index.hpp"
#include "tests/fuzz/fuzz.hpp"
#include "tests/fuzz/image.hpp"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, std::size_t size) {
  fuzz::op();
  const fuzz::SparseFile file(data, size);
  static const int memory = ::memfd_create("archive", MFD_CLOEXEC);
  // Emptied first: what an earlier input wrote must not come back as the archive grows.
  if (::ftruncate(memory, 0) != 0 || ::ftruncate(memory, static_cast<off_t>(file.length())) != 0)
    fuzz::fail("ftruncate");
  std::vector<uint8_t> bytes(64u << 10);
  for (uint64_t at = 0; at < std::min<uint64_t>(file.length(), 4u << 20); at += bytes.size()) {
    bytes.resize(std::min<uint64_t>(bytes.size(), file.length() - at));
    file.read(at, bytes.data(), bytes.size());
    if (::pwrite(memory, bytes.data(), bytes.size(), static_cast<off_t>(at)) < 0)
      fuzz::fail("pwrite");
  }
  fuzz::accepts([&] {
    const auto archive = hyper::ovf::File::open("/proc/self/fd/" + std::to_string(memory));
    for (const hyper::ovf::TarMember& member : hyper::ovf::index_tar(*archive).members)
      if (member.offset > archive->size() || member.size > archive->size() - member.offset)
        fuzz::fail("a member lies beyond the archive");
  });
  return 0;
}
