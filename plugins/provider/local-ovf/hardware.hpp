// SPDX-License-Identifier: Apache-2.0
// The virtual hardware of one VirtualSystem: Items by CIM resource type, the exporters' own
// settings (VMware's Config, VirtualBox's Machine), the guest's operating system. Stateless.
#pragma once

#include <string>

#include <pugixml.hpp>

#include "ovf_model.hpp"

namespace hyper::ovf {

/// Fills everything of vm but its id, name and annotation. configuration: the deployment option
/// that applies ("" = none). document: files and disks, for drives that name ISO files.
void read_hardware(const pugi::xml_node& system, const OvfDocument& document,
                   const std::string& configuration, const std::string& label, OvfVm& vm);

/// os_hint, guest_os and os_version from OperatingSystemSection.
void read_operating_system(const pugi::xml_node& section, OvfVm& vm);

/// "00:50:56:AB:cd:01", "00-50-…" or "005056abcd01" as "00:50:56:ab:cd:01"; "" if it is none.
std::string normal_mac(const std::string& text);

}  // namespace hyper::ovf
