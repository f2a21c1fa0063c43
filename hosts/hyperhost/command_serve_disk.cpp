// SPDX-License-Identifier: Apache-2.0
// hyperhost serve-disk: one disk over NBD, for anyone's tools.
#include <hyper/provider.h>
#include <spdlog/spdlog.h>

#include <filesystem>
#include <iostream>
#include <nlohmann/json.hpp>
#include <optional>

#include "core/base/random_id.hpp"
#include "core/base/units.hpp"
#include "core/block/nbd_server.hpp"
#include "core/block/nbd_socket.hpp"
#include "core/block/overlay.hpp"
#include "core/disk/local_sources.hpp"
#include "core/migrate/structure_check.hpp"
#include "core/os/loopback.hpp"
#include "core/state/sqlite/state_store.hpp"
#include "core/vm/vm_description.hpp"
#include "hosts/hyperhost/command_line.hpp"
#include "hosts/hyperhost/inventory.hpp"
#include "hosts/hyperhost/single_disk.hpp"

namespace hyperhost {
namespace {

struct ServeOptions {
  InventoryOptions where;
  std::string image, disk, source_format, overlay, scratch, socket;
  std::optional<uint16_t> port;
  bool writable = false, once = false, backing = false;
};

/// Which of the words is the image; or the plan, the VM and its disk.
void sort_words(ServeOptions& options) {
  InventoryOptions& where = options.where;
  auto words = where.words;
  if (where.plan.empty() && !where.source.given()) {
    const std::string first = words.empty() ? "" : words.front();
    const std::string extension = std::filesystem::path(first).extension().string();
    const bool plan = extension == ".yaml" || extension == ".yml";
    if (words.size() == 1 && (!plan || !options.source_format.empty())) {
      options.image = first;
      return;
    }
    if (words.empty())
      throw Error(Code::kConfig, "which disk?", "", "name an image, or a plan, a VM and its disk");
    where.plan = first;
    words.erase(words.begin());
  }
  if (words.empty()) throw Error(Code::kConfig, "which VM?", "", "name it after the plan");
  if (words.size() > 2) throw Error(Code::kConfig, "'" + words[2] + "' is one word too many");
  if (!options.source_format.empty() || options.backing)
    throw Error(Code::kConfig, "--source-format and --allow-backing are for an image");
  where.vm = words[0];
  if (words.size() == 2) options.disk = words[1];
}

/// So that cleanup finds what a kill leaves.
std::shared_ptr<Journal> journal(const ServeOptions& options) {
  // A provider may change something at the source, a snapshot for instance.
  if (options.image.empty()) return StateStore::open(default_state_dir());
  try {
    return StateStore::open(default_state_dir());
  } catch (const Error& failure) {  // of an image, no more than the socket is left
    spdlog::debug("no journal is kept: {}", failure.what());
    return nullptr;
  }
}

/// The disk that is asked for.
const DiskDescription& choose(const VmDescription& vm, const std::string& wanted) {
  std::string ids;
  for (const DiskDescription& disk : vm.disks) {
    if (disk.id == wanted || (wanted.empty() && vm.disks.size() == 1)) return disk;
    ids += (ids.empty() ? "" : ", ") + disk.id;
  }
  if (!wanted.empty())
    throw Error(Code::kNotFound, vm.name + " has no disk '" + wanted + "'", "",
                ids.empty() ? "it has none" : "it has " + ids);
  throw Error(Code::kConfig, vm.name + " has " + std::to_string(vm.disks.size()) + " disks",
              ids.empty() ? "" : "it has " + ids, ids.empty() ? "" : "name one after the VM");
}

/// A disk as its guest sees it, and what holds it open.
class OpenedDisk {
 public:
  OpenedDisk(Context& context, const ServeOptions& options, std::shared_ptr<Journal> kept)
      : op_("serve-disk", context.cancel(), {kept}) {
    if (options.image.empty())
      open_of_vm(context, options, std::move(kept));
    else
      open_image(context, options);
    context.print(op_.diagnostics());
  }

  std::shared_ptr<SourceHandle> disk() { return std::exchange(disk_, nullptr); }
  const std::string& name() const { return name_; }
  Operation& op() { return op_; }
  /// Gives the VM back. REQUIRES: its disk is not used any more.
  void close(Context& context) {
    if (!vm_) return;
    Operation closing(name_, CancelSource::create(), op_.services());
    vm_->close(closing, HYPER_OK);
    context.print(closing.diagnostics());
    vm_.reset();
  }

 private:
  void open_image(Context& context, const ServeOptions& options) {
    session_ = std::make_unique<Session>(context.registry(), std::map<std::string, PluginChoice>());
    if (options.backing) allow_backing(*session_, context.registry(), op_);
    std::shared_ptr<SourceHandle> file = open_file_source(options.image, "");
    if (file->length() == 0)
      throw Error(Code::kCorrupt, options.image + " is empty: there is no disk in it");
    if (options.source_format.empty() && is_package(*file, op_))
      throw Error(Code::kUnsupported, options.image + " is a package (OVA or OVF) and no image", "",
                  "hyperhost serve-disk --path " + options.image + " VM DISK");
    const std::string format = options.source_format.empty()
                                   ? detect_format(*session_, *file, options.image, op_)
                                   : options.source_format;
    std::string used;
    disk_ = session_->images().open(file, format, {}, op_, used);
    name_ = std::filesystem::path(options.image).filename().string();
  }

  void open_of_vm(Context& context, const ServeOptions& options, std::shared_ptr<Journal> kept) {
    SessionServices services;
    services.journal = std::move(kept);
    inventory_ = std::make_unique<Inventory>(context, options.where, std::move(services));
    Session& session = inventory_->session();
    const std::string& provider = inventory_->provider();
    ProviderHandle& connection = session.provider(provider, op_);
    const VmDescription vm = parse_vm_description(connection.describe_vm(op_, options.where.vm),
                                                  session.provider_plugin(provider));
    const DiskDescription& disk = choose(vm, options.disk);
    name_ = vm.name + "/" + disk.id;
    if (disk.blank) {
      disk_ = open_blank_source(disk.capacity_bytes);
      return;
    }
    check_seekable(vm, disk);
    nlohmann::json request = {{"vm", vm.ref}, {"task_id", random_id()}};
    if (!disk.content_id.empty()) request["content_ids"][disk.id] = disk.content_id;
    vm_ = connection.open_vm(op_, request);
    disk_ = open_guest_disk(session, *vm_, vm, disk, op_);
  }

  Operation op_;
  std::unique_ptr<Session> session_;
  std::unique_ptr<Inventory> inventory_;
  std::unique_ptr<ProviderVmHandle> vm_;
  std::shared_ptr<SourceHandle> disk_;
  std::string name_;
};

std::shared_ptr<BlockDevice> view_of(OpenedDisk& opened, const ServeOptions& options) {
  std::shared_ptr<SourceHandle> disk = opened.disk();
  if (!options.overlay.empty()) return Overlay::kept(std::move(disk), options.overlay, opened.op());
  if (!options.writable) return read_only_device(std::move(disk));
  return Overlay::scratch(std::move(disk), options.scratch.empty()
                                               ? default_state_dir()
                                               : std::filesystem::path(options.scratch));
}

void announce(Context& context, const std::string& uri, const OpenedDisk& opened,
              const BlockDevice& view, const ServeOptions& options) {
  if (!context.json()) {
    std::cout << uri << std::endl;
    context.say(opened.name() + ": " + bytes_text(view.length()) +
                (!view.writable()          ? ", read-only"
                 : options.overlay.empty() ? ", writes are dropped at the end"
                                           : ", writes go to " + options.overlay));
    return;
  }
  context.print_json({{"uri", uri},
                      {"disk", opened.name()},
                      {"length", view.length()},
                      {"writable", view.writable()}});
}

int serve(Context& context, const ServeOptions& options) {
  const std::shared_ptr<Journal> kept = journal(options);
  OpenedDisk opened(context, options, kept);
  const std::shared_ptr<CancelSource>& cancel = context.cancel();
  std::unique_ptr<NbdSocket> socket;
  std::shared_ptr<BlockDevice> view = view_of(opened, options);
  std::string uri;
  Fd listener;
  if (options.port) {
    uint16_t port = *options.port;
    listener = listen_on_loopback(port);
    uri = loopback_uri(port, "");
  } else {
    socket = options.socket.empty() ? NbdSocket::anywhere(kept) : NbdSocket::at(options.socket);
    listener = socket->take();
    uri = socket->uri("");
  }
  {
    NbdServer server(std::move(listener), {{"", opened.name(), view}}, cancel);
    announce(context, uri, opened, *view, options);
    server.wait(options.once);
  }
  Operation ending("serve-disk", CancelSource::create());
  try {
    view->flush(hyper::Op(&ending));
  } catch (const hyper::Error& failure) {
    throw Error(static_cast<Code>(failure.status()), failure.what());
  }
  view.reset();
  opened.close(context);
  return kExitOk;
}

void add_view_options(CLI::App& command, ServeOptions& options) {
  CLI::Option* writable = command.add_flag(
      "--writable", options.writable, "Clients may write; what they write is dropped at the end");
  CLI::Option* overlay = command.add_option(
      "--overlay", options.overlay,
      "Clients may write; what they write is kept in this file, for a later call with the same\n"
      "disk and the same file. The disk itself never changes");
  overlay->excludes(writable);
  command
      .add_option("--scratch", options.scratch,
                  "The directory of the file for --writable (default: that of the state)")
      ->needs(writable);
  CLI::Option* socket =
      command.add_option("--socket", options.socket,
                         "The path of the Unix socket (default: one in a directory of its own)");
  command
      .add_option("--tcp", options.port,
                  "Listen on this port of 127.0.0.1 instead (0: any), where every user of this\n"
                  "machine can connect")
      ->check(in_range(0, 65535))
      ->excludes(socket);
  command.add_flag("--once", options.once,
                   "End when the last client has left, as well as by SIGINT or SIGTERM");
  command.add_option("-f,--source-format", options.source_format,
                     "Of an image, where it must not be guessed");
  command.add_flag("--allow-backing", options.backing,
                   "Read a qcow2 overlay through its backing files, which lie beside it");
}

}  // namespace

void add_serve_disk_command(CLI::App& app, Context& context, int& status) {
  auto options = std::make_shared<ServeOptions>();
  CLI::App* command = app.add_subcommand(
      "serve-disk", "Serve one disk over NBD: an image, or a disk of a VM where it is");
  command
      ->add_option("IMAGE|PLAN|VM|DISK", options->where.words,
                   "An image; or the plan that has the source (not with --path or --endpoint),\n"
                   "then the VM, then its disk if it has several")
      ->expected(1, 3)
      ->required();
  add_view_options(*command, *options);
  add_source_options(*command, options->where);
  command->footer(
      "Prints the URI that clients connect to and serves until SIGINT or SIGTERM. The disk itself\n"
      "is only read.\n\n"
      "Examples:\n"
      "  hyperhost serve-disk disk.vmdk\n"
      "  hyperhost serve-disk disk.qcow2 --writable --socket /run/user/1000/disk.sock\n"
      "  hyperhost serve-disk plan.yaml web-01 disk-0 --once\n"
      "  hyperhost serve-disk --path web-01.ova web-01 disk-0 --tcp 10809");
  command->callback([options, &context, &status] {
    sort_words(*options);
    status = serve(context, *options);
  });
}

}  // namespace hyperhost
