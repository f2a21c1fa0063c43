// SPDX-License-Identifier: Apache-2.0
// The envelope: references, disks, systems, deployment options and properties.
#include <algorithm>
#include <set>

#include <hyper/error.hpp>

#include "hardware.hpp"
#include "ovf_model.hpp"
#include "units.hpp"
#include "xml.hpp"

namespace hyper::ovf {
namespace {

constexpr std::size_t kMaxFiles = 10'000, kMaxDisks = 4'000, kMaxVms = 4'000;
constexpr std::size_t kMaxVmName = 1024;  // the host takes four times that, of a reference too
constexpr uint64_t kMaxCapacity = uint64_t{1} << 51;  // 2 PiB

class Envelope {
 public:
  explicit Envelope(const std::string& label) : label_(label) {}

  OvfDocument read(const pugi::xml_node& root) {
    if (!same(kind(root), "Envelope"))
      refuse("has the root element <" + std::string(root.name()) + ">, not <Envelope>");
    if (descendant(root, "EncryptedData") || descendant(root, "EncryptionSection"))
      throw Error(HYPER_UNSUPPORTED, "the package of '" + label_ + "' is encrypted")
          .hint("Export the VM again without encryption.");
    collect_properties(root);
    each_child(root, [&](const pugi::xml_node& node) { section(node); });
    each_child(root, [&](const pugi::xml_node& node) { systems(node, 0); });
    if (document_.vms.empty()) refuse("describes no VirtualSystem");
    return std::move(document_);
  }

 private:
  [[noreturn]] void refuse(const std::string& what) const {
    throw Error(HYPER_CORRUPT, "the descriptor '" + label_ + "' " + what);
  }

  /// ProductSection properties: a Disk's capacity may be "${key}".
  void collect_properties(const pugi::xml_node& root) {
    struct Walker : pugi::xml_tree_walker {
      std::map<std::string, std::string>* into = nullptr;
      bool for_each(pugi::xml_node& node) override {
        if (node.type() == pugi::node_element && kind(node) == "Property")
          (*into)[attribute_or(node, "key")] = attribute_or(node, "value");
        return true;
      }
    } walker;
    walker.into = &properties_;
    pugi::xml_node(root).traverse(walker);
  }

  void section(const pugi::xml_node& node) {
    const std::string name = kind(node);
    if (same(name, "References"))
      each_child(node, [&](const pugi::xml_node& inner) {
        if (same(kind(inner), "File")) file(inner);
      });
    if (same(name, "DiskSection"))
      each_child(node, [&](const pugi::xml_node& inner) {
        if (same(kind(inner), "Disk")) disk(inner);
      });
    if (same(name, "DeploymentOptionSection")) deployment(node);
  }

  void file(const pugi::xml_node& node) {
    OvfFile out;
    out.id = attribute_or(node, "id");
    out.href = attribute_or(node, "href");
    out.compression = attribute_or(node, "compression");
    if (const auto text = attribute(node, "size"); text && !trimmed(*text).empty()) {
      out.size = parse_number(trimmed(*text));
      if (!out.size) refuse("gives '" + *text + "' as the size of '" + out.href + "'");
    }
    if (const auto text = attribute(node, "chunkSize"); text && !trimmed(*text).empty()) {
      const auto chunk = parse_number(trimmed(*text));
      if (!chunk) refuse("gives '" + *text + "' as the chunk size of '" + out.href + "'");
      out.chunk_size = *chunk;
    }
    if (out.href.empty()) refuse("has a File without href");
    if (out.id.empty()) out.id = out.href;
    if (!document_.files.emplace(out.id, out).second)
      refuse("has two Files with the id '" + out.id + "'");
    if (document_.files.size() > kMaxFiles) refuse("has an absurd number of Files");
    document_.file_order.push_back(out.id);
  }

  void disk(const pugi::xml_node& node) {
    OvfDisk out;
    out.id = attribute_or(node, "diskId");
    out.file_id = attribute_or(node, "fileRef");
    out.format = attribute_or(node, "format");
    if (out.id.empty()) refuse("has a Disk without diskId");
    if (!attribute_or(node, "parentRef").empty())
      throw Error(HYPER_UNSUPPORTED, "the disk '" + out.id + "' in '" + label_ +
                                         "' is a delta over the disk '" +
                                         attribute_or(node, "parentRef") + "'")
          .hint("Consolidate the VM's snapshots and export it again.");
    capacity(node, out);
    if (!document_.disks.emplace(out.id, out).second)
      refuse("has two Disks with the diskId '" + out.id + "'");
    if (document_.disks.size() > kMaxDisks) refuse("has an absurd number of Disks");
    document_.disk_order.push_back(out.id);
  }

  void capacity(const pugi::xml_node& node, OvfDisk& out) {
    const auto given = attribute(node, "capacity");
    // oVirt: the virtual size in GiB, under another name.
    const auto ovirt = given ? std::nullopt : attribute(node, "size");
    std::string text = trimmed(given ? *given : ovirt.value_or(""));
    if (text.size() > 3 && text.rfind("${", 0) == 0 && text.back() == '}')
      text = properties_[text.substr(2, text.size() - 3)];
    const std::string units = attribute_or(node, "capacityAllocationUnits");
    if (!trimmed(units).empty()) {
      const auto unit = parse_byte_unit(units);
      if (!unit)
        refuse("counts the capacity of the disk '" + out.id + "' in '" + units +
               "', which is no unit of bytes");
      out.unit = *unit;
    } else if (ovirt) {
      out.unit = uint64_t{1} << 30;
    }
    if (text.empty() && !out.file_id.empty()) return;  // the image will tell
    const auto number = parse_number(text);
    if (!number || __builtin_mul_overflow(*number, out.unit, &out.capacity) ||
        out.capacity > kMaxCapacity)
      refuse("gives the disk '" + out.id + "' the capacity '" + text +
             (units.empty() ? "'" : "' in units of '" + units + "'") +
             ", which is no possible size");
    if (out.capacity == 0 && out.file_id.empty())
      refuse("has a blank disk '" + out.id + "' of capacity 0");
  }

  void deployment(const pugi::xml_node& node) {
    each_child(node, [&](const pugi::xml_node& inner) {
      if (!same(kind(inner), "Configuration")) return;
      const std::string id = attribute_or(inner, "id");
      const bool chosen = same(attribute_or(inner, "default"), "true");
      if (configuration_.empty() || chosen) configuration_ = id;
    });
  }

  void systems(const pugi::xml_node& node, int depth) {
    const std::string name = kind(node);
    if (same(name, "VirtualSystemCollection") && depth < 16)
      each_child(node, [&](const pugi::xml_node& inner) { systems(inner, depth + 1); });
    if (!same(name, "VirtualSystem")) return;
    OvfVm vm;
    vm.id = attribute_or(node, "id");
    vm.name = child_text(node, "Name");
    if (vm.name.empty()) vm.name = vm.id;
    if (vm.name.empty())
      vm.name = trimmed(descendant(node, "VirtualSystemIdentifier").text().get());
    if (std::max(vm.name.size(), vm.id.size()) > kMaxVmName)
      refuse("has a VirtualSystem with a name of absurd length");
    vm.annotation = child_text(child(node, "AnnotationSection"), "Annotation");
    read_hardware(node, document_, configuration_, label_, vm);
    if (!vm.id.empty() && !vm_ids_.insert(vm.id).second)
      refuse("has two VirtualSystems with the id '" + vm.id + "'");
    if (document_.vms.size() == kMaxVms) refuse("has an absurd number of VirtualSystems");
    document_.vms.push_back(std::move(vm));
  }

  const std::string& label_;
  OvfDocument document_;
  std::map<std::string, std::string> properties_;
  std::string configuration_;
  std::set<std::string> vm_ids_;
};

/// Disks that no VM claims belong to the only VM there is, if it claims none at all.
void adopt_disks(OvfDocument& document) {
  std::set<std::string> disks, files;
  for (const OvfVm& vm : document.vms) {
    for (const OvfDrive& drive : vm.drives) disks.insert(drive.disk_id);
    for (const OvfAttachment& inserted : vm.attachments) files.insert(inserted.file_id);
  }
  std::vector<std::string> orphans;
  for (const std::string& id : document.disk_order)
    if (disks.count(id) == 0 && files.count(document.disks.at(id).file_id) == 0)
      orphans.push_back(id);
  const bool adopt = document.vms.size() == 1 && document.vms.front().drives.empty();
  for (const std::string& id : orphans) {
    if (adopt) {
      const auto order = static_cast<unsigned>(document.vms.front().drives.size());
      document.vms.front().drives.push_back({id, "", "", "", order});
    }
    document.warnings.push_back("the disk '" + id + "' is not attached to any VM" +
                                (adopt ? "; the package's only VM gets it" : "; it is left out"));
  }
}

}  // namespace

OvfDocument parse_ovf(const std::string& text, const std::string& label) {
  pugi::xml_document xml;
  load_xml(xml, text, label);
  OvfDocument document = Envelope(label).read(xml.document_element());
  adopt_disks(document);
  return document;
}

}  // namespace hyper::ovf
