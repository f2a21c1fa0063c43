// SPDX-License-Identifier: Apache-2.0
// How each disk of a VM goes from its source to its target, decided before anything is touched.
// The same decision serves --dry-run, validate and the run itself. Plain values.
#pragma once

#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "core/vm/finding.hpp"
#include "core/vm/migration.hpp"
#include "core/vm/vm_description.hpp"

namespace hyperhost {

struct DiskRoute {
  DiskDescription disk;
  uint32_t open_flags = 0;     ///< HYPER_OPEN_…
  bool staged = false;         ///< the source goes to a local file first
  bool in_place = false;       ///< the converter opens the source's file itself
  bool needs_file = false;     ///< the converter reads files only
  std::string need;            ///< how its source is read: "file", "seek", "stream"; "" = as it is
  std::string decoder;         ///< the reader that makes it a raw disk; "" = the converter reads it
  bool prepared = false;       ///< read through a view, in which its guest was prepared
  bool direct_upload = false;  ///< the converter writes into the store
  bool converted = true;       ///< false: copied as delivered
  std::string why;             ///< one sentence for --dry-run
  std::string target_format;
  std::string file_name;   ///< "web-01-disk-0.qcow2"
  std::string key;         ///< "web-01/web-01-disk-0.qcow2"
  nlohmann::json request;  ///< of hyper_converter
  bool digest_in_pass = false;
  std::vector<std::string> notes;
};

/// What a finished disk takes at its target, in bytes.
struct DiskSpace {
  uint64_t least = 0;  ///< sure to be written
  uint64_t worst = 0;  ///< were every byte of the guest data that do not compress
  bool known = true;   ///< false: the source does not say how large the disk is; worst is too small
};
DiskSpace disk_space(const DiskRoute& route, Compression compression);

class ResumeLog;

struct VmRoute {
  VmDescription vm;
  std::string stem;                 ///< of the VM's directory and files
  std::filesystem::path directory;  ///< output_dir/stem
  std::vector<DiskRoute> disks;
  std::shared_ptr<ResumeLog> resume;  ///< what an earlier run left; null where no state is kept
  bool finished = false;              ///< by an earlier run, and still there
  std::vector<Diagnostic> findings;   ///< warnings and errors; with an error nothing may start
  std::vector<VmFinding> predicted;   ///< from the description; not of a VM that is finished

  bool possible() const;
  nlohmann::json to_json() const;
};

}  // namespace hyperhost
