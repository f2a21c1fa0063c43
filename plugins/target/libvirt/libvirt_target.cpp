// SPDX-License-Identifier: Apache-2.0
#include "plugins/target/libvirt/libvirt_target.hpp"

#include <libvirt/virterror.h>

#include <cstdlib>
#include <pugixml.hpp>
#include <set>

#include "plugins/target/file/render.hpp"
#include "plugins/target/libvirt/volume.hpp"

namespace hyperhost::libvirt_target {
namespace {

constexpr const char* kMetadata = "urn:hyperhost:vm:1";
constexpr const char* kMachineEntry = "unfinished domain";  // kind of a journal entry

/// The mark of the migration that made it; "" = none did.
std::string mark_of(virDomain* domain) {
  char* const text = virDomainGetMetadata(domain, VIR_DOMAIN_METADATA_ELEMENT, kMetadata,
                                          VIR_DOMAIN_AFFECT_CONFIG);
  if (text == nullptr) return {};
  pugi::xml_document document;
  document.load_string(taken(text, "").c_str());
  return document.first_child().attribute("mark").value();
}

/// To be read before what may fail: it forgets libvirt's last error.
std::string title_of(virDomain* domain) {
  const char* const name = virDomainGetName(domain);
  return name == nullptr ? "" : name;
}

std::string uuid_of(virDomain* domain) {
  char text[VIR_UUID_STRING_BUFLEN] = {};
  if (virDomainGetUUIDString(domain, text) != 0) throw failure("cannot read a domain's UUID");
  return text;
}

/// That of the source, else one made of the mark: a later run's machine is the same one.
file_target::Machine read_machine(const hyper::Doc& request) {
  file_target::Machine out = file_target::read_machine(request);
  if (out.uuid.empty() && out.mark.size() == 32) {
    out.uuid = out.mark;
    for (const std::size_t at : {8u, 13u, 18u, 23u}) out.uuid.insert(at, "-");
  }
  return out;
}

void find(hyper::DocBuilder& answer, const char* rule, const char* severity,
          const std::string& summary, const std::string& hint = {}) {
  hyper::DocBuilder finding;
  finding.set("/rule", rule).set("/severity", severity).set("/summary", summary);
  if (!hint.empty()) finding.set("/hint", hint);
  answer.append("/findings", finding);
}

bool runs(virConnect* connection, const char* type) {
  char* const text =
      virConnectGetDomainCapabilities(connection, nullptr, "x86_64", nullptr, type, 0);
  std::free(text);
  return text != nullptr;
}

/// "web-disk-0.MARK.qcow2".
std::string name_of(std::string file, const std::string& mark) {
  const std::size_t dot = file.rfind('.');
  return file.insert(dot == std::string::npos ? file.size() : dot, "." + mark);
}

/// The domain that a migration made; "" = none is there.
std::string defined_with(virConnect* connection, const std::string& mark) {
  virDomainPtr* domains = nullptr;
  const int count = virConnectListAllDomains(connection, &domains, 0);
  if (count < 0) throw failure("cannot list the domains");
  std::string out;
  for (int i = 0; i < count; ++i) {
    const Domain domain(domains[i]);
    if (mark_of(domain.get()) == mark) out = virDomainGetName(domain.get());
  }
  std::free(domains);
  return out;
}

/// What it answers of machines of that type.
std::string capabilities(virConnect* connection, const file_target::Machine& machine,
                         const std::string& type) {
  return taken(virConnectGetDomainCapabilities(connection, nullptr, machine.arch.c_str(),
                                               machine.type.c_str(), type.c_str(), 0),
               "libvirt runs no " + type + " machines of the type " + machine.type);
}

}  // namespace

std::unique_ptr<LibvirtTarget> LibvirtTarget::connect(const hyper::Doc& options, hyper::Op) {
  auto out = std::make_unique<LibvirtTarget>();
  out->uri_ = options.string("/uri", "qemu:///system");
  out->connection_ = libvirt_target::connect(out->uri_);
  virConnect* const connection = out->connection_.get();
  out->location_ = taken(virConnectGetURI(connection), "cannot read libvirt's URI");
  out->pool_ = options.string("/pool", "default");
  out->uploads_ = options.string("/disks", "pool") == "pool";
  out->type_ = options.string("/type", "auto");
  if (out->type_ == "auto") out->type_ = runs(connection, "kvm") ? "kvm" : "qemu";
  return out;
}

Connection LibvirtTarget::here() const {
  const std::lock_guard lock(mutex_);
  if (virConnectIsAlive(connection_.get()) != 1) connection_ = libvirt_target::connect(uri_);
  return shared(connection_.get());
}

std::string LibvirtTarget::info(hyper::Op) {
  const Connection held = here();
  virConnect* const connection = held.get();
  hyper::DocBuilder answer;
  answer.set("/location", location_).set("/formats", {"raw", "qcow2", "vmdk", "vdi", "vhd"});
  answer.set("/can", {"readback", "remove", "start", "state", "stop"});
  if (!uploads_) return answer.set("/disks", {"place"}).json();
  answer.set("/disks", {"put"}).array("/storages");
  virStoragePoolPtr* pools = nullptr;
  const int count =
      virConnectListAllStoragePools(connection, &pools, VIR_CONNECT_LIST_STORAGE_POOLS_ACTIVE);
  if (count < 0) throw failure("cannot list the storage pools");
  for (int i = 0; i < count; ++i) {
    const Pool pool(pools[i]);
    virStoragePoolInfo facts{};
    hyper::DocBuilder one;
    one.set("/name", virStoragePoolGetName(pool.get()));
    if (virStoragePoolGetInfo(pool.get(), &facts) == 0)
      one.set("/free_bytes", static_cast<uint64_t>(facts.available));
    answer.append("/storages", one);
  }
  std::free(pools);
  return answer.json();
}

std::string LibvirtTarget::in_the_way(virConnect* connection, const file_target::Machine& machine) {
  const Domain named(
      virDomainLookupByName(connection, file_target::domain_name(machine.name).c_str()));
  if (!named && !is_missing()) throw failure("cannot look for the domain " + machine.name);
  if (named && mark_of(named.get()) != machine.mark)
    return "there is another domain '" + machine.name + "'";
  const Domain same(virDomainLookupByUUIDString(connection, machine.uuid.c_str()));
  if (!same && !is_missing()) throw failure("cannot look for the domain " + machine.uuid);
  if (same && mark_of(same.get()) != machine.mark)
    return "the domain '" + std::string(virDomainGetName(same.get())) + "' has the UUID " +
           machine.uuid;
  return {};
}

std::string LibvirtTarget::plan(hyper::Op, const hyper::Doc& request) {
  const Connection held = here();
  virConnect* const connection = held.get();
  const file_target::Machine machine = read_machine(request);
  hyper::DocBuilder answer;
  answer.array("/findings");
  static_cast<void>(file_target::libvirt_domain(machine, {type_}));  // what it takes no disks of
  if (const std::string why = in_the_way(connection, machine); !why.empty())
    find(answer, "target.name", "error", why, "target: {name: NAME} calls it otherwise");
  pugi::xml_document able;
  able.load_string(capabilities(connection, machine, type_).c_str());
  if (machine.uefi &&
      !able.select_node("/domainCapabilities/os/enum[@name='firmware']/value[.='efi']"))
    find(answer, "target.firmware", "error", "libvirt has no UEFI firmware for this machine",
         "install ovmf there");
  if (machine.secure_boot &&
      !able.select_node("/domainCapabilities/os/loader/enum[@name='secure']/value[.='yes']"))
    find(answer, "target.firmware", "error", "libvirt has no firmware with secure boot",
         "install ovmf there");
  if (machine.tpm && !able.select_node("/domainCapabilities/devices/tpm/enum[@name='backendModel']/"
                                       "value[.='emulator']"))
    find(answer, "target.tpm", "error", "libvirt has no emulated TPM there", "install swtpm there");
  std::set<std::string> said;
  for (const file_target::Nic& nic : machine.nics) {
    const std::string name = nic.network.empty() ? "default" : nic.network;
    if (nic.bridge || nic.user || !said.insert(name).second) continue;
    if (const Network network(virNetworkLookupByName(connection, name.c_str())); network) continue;
    find(answer, "target.network", "error", "libvirt has no network '" + name + "'",
         "target: {networks: {\"" + nic.source + "\": NAME}}; a bridge is bridge:NAME");
  }
  if (uploads_ && !Pool(virStoragePoolLookupByName(connection, pool_.c_str())))
    find(answer, "target.storage", "error", "libvirt has no storage pool '" + pool_ + "'",
         "target: {options: {pool: NAME}}");
  return answer.json();
}

std::unique_ptr<hyper::Sink> LibvirtTarget::put_disk(hyper::Op op, const hyper::Doc& request) {
  const Connection held = here();
  virConnect* const connection = held.get();
  const std::string mark = request.need_string("/mark");
  const VolumeName at{request.string("/storage", pool_),
                      name_of(request.string("/file_name", request.need_string("/disk")), mark)};
  // A volume of that name is of this migration. It is from an earlier try, or a VM has it.
  if (find_volume(connection, at)) {
    if (const std::string machine = defined_with(connection, mark); !machine.empty())
      throw hyper::Error(HYPER_EXISTS,
                         "the domain '" + machine + "' of an earlier run has its disk " + at.ref())
          .hint("undefine it and delete its volumes, to migrate the VM again");
    delete_volume(connection, at);
  }
  return std::make_unique<VolumeSink>(op, connection,
                                      NewVolume{at, location_, mark, request.need_size("/length")});
}

std::unique_ptr<hyper::Source> LibvirtTarget::get_disk(hyper::Op, const std::string& ref) {
  const Connection held = here();
  virConnect* const connection = held.get();
  return open_volume(connection, volume_name(ref));
}

std::string LibvirtTarget::define(hyper::Op op, const hyper::Doc& request) {
  const Connection held = here();
  virConnect* const connection = held.get();
  op.check_cancelled();
  const file_target::Machine machine = read_machine(request);
  if (const std::string why = in_the_way(connection, machine); !why.empty())
    throw hyper::Error(HYPER_EXISTS, why);
  const std::string text = file_target::libvirt_domain(machine, {type_}).text;
  uint64_t entry = 0;
  if (hyper::Journal::kept(op))
    entry = hyper::Journal::open(op, hyper::DocBuilder()
                                         .set("/plugin", "libvirt")
                                         .set("/kind", kMachineEntry)
                                         .set("/where", location_)
                                         .set("/ref", machine.uuid)
                                         .set("/mark", machine.mark));
  const Domain domain(
      virDomainDefineXMLFlags(connection, text.c_str(), VIR_DOMAIN_DEFINE_VALIDATE));
  const hyper::Error why = domain ? hyper::Error(HYPER_OK, "")
                                  : failure("libvirt does not define '" + machine.name + "'");
  if (entry != 0) hyper::Journal::close(op, entry);
  if (!domain) throw why;
  return hyper::DocBuilder()
      .set("/ref", uuid_of(domain.get()))
      .set("/name", virDomainGetName(domain.get()))
      .json();
}

Domain LibvirtTarget::machine(virConnect* connection, const std::string& ref) {
  Domain out(virDomainLookupByUUIDString(connection, ref.c_str()));
  if (!out) throw failure("there is no domain " + ref);
  return out;
}

void LibvirtTarget::start(hyper::Op, const hyper::Doc& request) {
  const Connection held = here();
  const Domain domain = machine(held.get(), request.need_string("/ref"));
  const std::string name = title_of(domain.get());
  if (virDomainIsActive(domain.get()) != 1 && virDomainCreate(domain.get()) != 0)
    throw failure("cannot start '" + name + "'");
}

std::string LibvirtTarget::state(hyper::Op, const std::string& ref) {
  const Connection held = here();
  virConnect* const connection = held.get();
  const Domain domain = machine(connection, ref);
  int state = VIR_DOMAIN_NOSTATE;
  if (virDomainGetState(domain.get(), &state, nullptr, 0) != 0)
    throw failure("cannot read the state of " + ref);
  const bool on = state == VIR_DOMAIN_RUNNING || state == VIR_DOMAIN_BLOCKED;
  const bool off = state == VIR_DOMAIN_SHUTOFF || state == VIR_DOMAIN_CRASHED;
  return hyper::DocBuilder()
      .set("/power", on                           ? "on"
                     : off                        ? "off"
                     : state == VIR_DOMAIN_PAUSED ? "suspended"
                                                  : "unknown")
      .json();
}

void LibvirtTarget::stop(hyper::Op, const hyper::Doc& request) {
  const Connection held = here();
  const Domain domain = machine(held.get(), request.need_string("/ref"));
  const std::string name = title_of(domain.get());
  if (virDomainIsActive(domain.get()) != 1) return;
  const int done = request.string("/how") == "off" ? virDomainDestroy(domain.get())
                                                   : virDomainShutdown(domain.get());
  if (done != 0) throw failure("cannot stop '" + name + "'");
}

/// Only what a migration made, and nothing that runs.
void LibvirtTarget::remove_machine(virConnect* connection, const std::string& ref) {
  const Domain domain(virDomainLookupByUUIDString(connection, ref.c_str()));
  if (!domain && is_missing()) return;
  if (!domain) throw failure("cannot look for the domain " + ref);
  const std::string name = title_of(domain.get());
  if (mark_of(domain.get()).empty())
    throw hyper::Error(HYPER_EXISTS, "the domain '" + name + "' was not made by a migration");
  if (virDomainIsActive(domain.get()) == 1 && virDomainDestroy(domain.get()) != 0)
    throw failure("cannot stop '" + name + "'");
  // Without these flags libvirt keeps a domain that has UEFI variables or a TPM.
  if (virDomainUndefineFlags(domain.get(), VIR_DOMAIN_UNDEFINE_NVRAM | VIR_DOMAIN_UNDEFINE_TPM |
                                               VIR_DOMAIN_UNDEFINE_MANAGED_SAVE) != 0)
    throw failure("cannot remove the domain '" + name + "'");
}

void LibvirtTarget::remove(hyper::Op, const hyper::Doc& request) {
  const Connection held = here();
  virConnect* const connection = held.get();
  const std::string ref = request.need_string("/ref");
  if (request.string("/kind") == "disk")
    delete_volume(connection, volume_name(ref));
  else
    remove_machine(connection, ref);
}

void LibvirtTarget::undo(hyper::Op, const hyper::Doc& entry) {
  const Connection held = here();
  virConnect* const connection = held.get();
  const std::string kind = entry.string("/kind"), ref = entry.string("/ref");
  if (entry.string("/where") != location_ || (kind != kVolumeEntry && kind != kMachineEntry))
    throw hyper::Reported(HYPER_UNSUPPORTED);  // of another place: the entry stays
  if (kind == kVolumeEntry) return delete_volume(connection, volume_name(ref));
  const Domain domain(virDomainLookupByUUIDString(connection, ref.c_str()));
  if (domain && mark_of(domain.get()) != entry.string("/mark")) return;  // it was not made
  remove_machine(connection, ref);
}

}  // namespace hyperhost::libvirt_target
