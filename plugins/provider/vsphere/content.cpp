// SPDX-License-Identifier: Apache-2.0
#include "content.hpp"

#include "datastore_source.hpp"

namespace hyper::vsphere {
namespace {

constexpr char kFlatEnd[] = "-flat.vmdk";

/// "[store] dir/file" as "[store] dir" and "file".
std::pair<std::string, std::string> split_folder(const std::string& path) {
  const std::size_t slash = path.rfind('/');
  const std::size_t end = slash == std::string::npos ? path.find("] ") : slash;
  if (end == std::string::npos) return {};
  return slash == std::string::npos ? std::pair(path.substr(0, end + 1), path.substr(end + 2))
                                    : std::pair(path.substr(0, end), path.substr(end + 1));
}

/// Size and time of the flat files in a folder, by name. It leaves out files whose time the server
/// does not report.
std::map<std::string, std::string> flat_files(Session& session, const Ref& datastore,
                                              const std::string& folder,
                                              const http::Cancel& cancel) {
  const std::string what = "cannot look into " + folder;
  const Ref browser =
      ref_in(retrieve_one(session, datastore, {"browser"}, what, cancel).object.at("browser"));
  if (browser.empty()) throw Error(HYPER_UNSUPPORTED, what, "the datastore has no browser");
  Args args;
  args.text("datastorePath", folder).open("searchSpec").open("details");
  args.flag("fileType", false).flag("fileSize", true).flag("modification", true);
  args.close("details").text("matchPattern", std::string("*") + kFlatEnd).close("searchSpec");
  const Answer answer = session.call("SearchDatastore_Task", browser, args, what, cancel);
  const Retrieved done = finished_task(session, ref_in(answer.value()), what, cancel);
  std::map<std::string, std::string> out;
  each(done.object.at("info.result"), "file", [&](const pugi::xml_node& file) {
    const std::string time = text(file, "modification");
    if (!time.empty()) out[text(file, "path")] = text(file, "fileSize") + " " + time;
  });
  return out;
}

}  // namespace

Contents contents_of(Session& session, const VmInfo& vm, const http::Cancel& cancel) {
  Contents out;
  if (vm.power != "off") return out;
  std::map<std::string, std::map<std::string, std::string>> folders;
  for (const Disk& disk : vm.disks) {
    if (no_flat_file(vm, disk) || disk.multi_writer()) continue;
    const auto [folder, name] = split_folder(disk.flat_file);
    const auto [files, first] = folders.try_emplace(folder);
    try {
      if (first) files->second = flat_files(session, disk.datastore, folder, cancel);
      const auto file = files->second.find(name);
      if (file != files->second.end())
        out.ids[disk.id] = disk.uuid + " " + disk.flat_file + " " + file->second;
      else if (out.unknown.empty())
        out.unknown = "the server does not tell when " + disk.flat_file + " was written";
    } catch (const Error& error) {
      out.unknown = error.what();
    }
  }
  return out;
}

}  // namespace hyper::vsphere
