// SPDX-License-Identifier: Apache-2.0
#include "plugins/target/file/file_target.hpp"

namespace hyperhost::file_target {

std::unique_ptr<FileTarget> FileTarget::connect(const hyper::Doc& options, hyper::Op) {
  auto out = std::make_unique<FileTarget>();
  options.each("/render", [&](const hyper::Doc& one) { out->platforms_.push_back(one.string()); });
  if (out->platforms_.empty()) out->platforms_ = {"libvirt", "kubevirt", "proxmox", "openstack"};
  out->import_url_ = options.string("/import_url");
  return out;
}

std::string FileTarget::info(hyper::Op) {
  return hyper::DocBuilder().set("/location", "files").set("/disks", {"place"}).json();
}

std::vector<Rendered> FileTarget::render(const Machine& machine,
                                         std::vector<std::string>& notes) const {
  std::vector<Rendered> out;
  for (const std::string& platform : platforms_) {
    try {
      out.push_back(platform == "libvirt"    ? libvirt_domain(machine)
                    : platform == "kubevirt" ? kubevirt_machine(machine, import_url_)
                    : platform == "proxmox"  ? proxmox_script(machine)
                                             : openstack_script(machine));
    } catch (const hyper::Error& error) {
      if (error.status() != HYPER_UNSUPPORTED) throw;
      notes.push_back("no file for " + platform + ": " + error.what());
    }
  }
  return out;
}

std::string FileTarget::plan(hyper::Op, const hyper::Doc& request) {
  std::vector<std::string> notes;
  hyper::DocBuilder answer;
  answer.array("/files").array("/findings");
  for (const Rendered& file : render(read_machine(request), notes))
    answer.set("/files/-", file.name);
  for (const std::string& note : notes) {
    hyper::DocBuilder finding;
    finding.set("/rule", "target.format").set("/severity", "note").set("/summary", note);
    answer.append("/findings", finding);
  }
  return answer.json();
}

std::string FileTarget::define(hyper::Op op, const hyper::Doc& request) {
  const Machine machine = read_machine(request);
  std::vector<std::string> notes;
  hyper::DocBuilder answer;
  answer.set("/ref", machine.name).set("/name", machine.name).array("/files");
  for (const Rendered& file : render(machine, notes)) {
    op.check_cancelled();
    hyper::DocBuilder one;
    one.set("/name", file.name).set("/text", file.text).set("/content_type", file.content_type);
    answer.append("/files", one);
  }
  return answer.json();
}

}  // namespace hyperhost::file_target
