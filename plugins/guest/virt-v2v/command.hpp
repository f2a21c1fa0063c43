// SPDX-License-Identifier: Apache-2.0
// The command line of virt-v2v-in-place and the domain's XML that it reads. Pure; any thread.
#ifndef HYPERHOST_VIRT_V2V_COMMAND_HPP
#define HYPERHOST_VIRT_V2V_COMMAND_HPP

#include <hyper/doc.hpp>
#include <string>
#include <vector>

#include "plugins/guest/virt-v2v/settings.hpp"

namespace hyperhost::virt_v2v {

struct Program {
  std::string path, version;
  bool no_fstrim = false;  ///< it knows --no-fstrim
};

/// The file in `directory` that the n-th of the settings' keys goes to.
std::string key_file(const std::string& directory, std::size_t n);

/// Names of variables of this process that virt-v2v gets, "NAME=value" each.
std::vector<std::string> inherited_environment();

/// The whole command: a time limit, a clean environment, and the program. The domain is in
/// DIRECTORY/domain.xml.
std::vector<std::string> command_line(const Settings& settings, const Program& program,
                                      const std::string& directory,
                                      const std::vector<std::string>& environment);

/// As a person would type it. No secret is in it.
std::string command_text(const std::vector<std::string>& arguments);

/// A disk of the domain: its id in the VM description, and the overlay that is written.
struct DomainDisk {
  std::string id, path;
};

/// libvirt's XML of the machine that the guest was made for: virt-v2v looks at its buses.
std::string domain_xml(const hyper::Doc& request, const std::vector<DomainDisk>& disks);

}  // namespace hyperhost::virt_v2v

#endif
