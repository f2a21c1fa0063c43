# SPDX-License-Identifier: Apache-2.0
"""What the fault-injecting vCenter (fault_vcenter.py) has: VMs, disks, snapshots, leases, tasks, and how each answers
for its properties. Property values are XML in the server's own dialect (Dialect), since servers differ in their prefixes.
"""

import fnmatch
import itertools
import pathlib
import sys
import time
import uuid
from xml.sax.saxutils import escape

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from vmdk_writer import Content, stream_optimized  # noqa: E402


class Dialect:
    """How this server spells xsi:type: its prefix for XMLSchema-instance, and one for vim25's own types."""

    def __init__(self, instance="xsi", own=""):
        self.instance, self.own = instance, own

    def typed(self, name, kind, inner, extra=""):
        """An element with a plain `type` where `extra` has one, and an xsi type."""
        prefix = "" if kind.startswith("xsd:") else self.own
        return f'<{name}{extra} {self.instance}:type="{prefix}{kind}">{inner}</{name}>'

    def ref(self, name, ref):
        return self.typed(name, "ManagedObjectReference", escape(ref[1]), f' type="{ref[0]}"')

    def refs(self, name, refs):
        inner = "".join(f'<ManagedObjectReference type="{r[0]}" {self.instance}:type="{self.own}ManagedObjectReference">'
                        f"{escape(r[1])}</ManagedObjectReference>" for r in refs)
        return self.typed(name, "ArrayOfManagedObjectReference", inner)

    def string(self, name, value):
        return self.typed(name, "xsd:string", escape(value))

    def enum(self, name, kind, value):
        return self.typed(name, kind, value)

    def boolean(self, name, value):
        return self.typed(name, "xsd:boolean", "true" if value else "false")

    def integer(self, name, value):
        return self.typed(name, "xsd:int", str(value))

    def fault(self, name, kind, message):
        """A LocalizedMethodFault."""
        return self.typed(name, "LocalizedMethodFault",
                          self.typed("fault", kind, "") + f"<localizedMessage>{escape(message)}</localizedMessage>")


class Disk:
    """A disk with known content: as the guest sees it, and as a lease streams it."""

    def __init__(self, key, content, unit=0, **keys):
        self.key, self.unit, self.content = key, unit, content
        self.capacity = keys.get("capacity", content.capacity)
        self.mode = keys.get("mode", "persistent")
        self.backing = keys.get("backing", "VirtualDiskFlatVer2BackingInfo")
        self.sharing = keys.get("sharing", "sharingNone")
        self.path = None  # of its file, where it does not lie beside its VM
        self.datastore = keys.get("datastore", True)  # it lies on one
        self.flat = keys.get("flat", True)  # the layout lists a -flat file
        self.modified = "2026-11-01T08:00:00Z"  # of its flat file, as the datastore tells
        self._stream = keys.get("stream")

    def write(self, content):
        """Somebody gives it other bytes."""
        self.content, self._stream = content, None
        self.modified = "2026-11-02T09:30:00Z"

    @property
    def stream(self):
        if self._stream is None:
            self._stream = stream_optimized(self.content)
        return self._stream


class Vm:
    def __init__(self, number, name, disks, power="poweredOff", **keys):
        self.ref, self.name, self.disks, self.power = ("VirtualMachine", f"vm-{number}"), name, disks, power
        self.uuid, self.instance_uuid = (str(uuid.UUID(int=number + n)) for n in (1 << 64, 2 << 64))
        self.mac = f"00:50:56:01:{number >> 8 & 255:02x}:{number & 255:02x}"
        self.snapshots = []  # [(ref, name)]
        self.tools = keys.get("tools", "guestToolsRunning")
        self.tpm, self.encrypted = keys.get("tpm", False), keys.get("encrypted", False)
        self.folder = keys.get("folder", ("Folder", "group-v3"))
        self.consolidation_needed, self.change_tracking = False, keys.get("change_tracking", True)
        self.settings = {f"scsi0:{disk.unit}.ctkEnabled": "TRUE" for disk in disks} if self.change_tracking else {}
        self.template = keys.get("template", False)
        self.connection = keys.get("connection", "connected")
        self.bus_sharing = keys.get("bus_sharing", "noSharing")
        self.passthrough = keys.get("passthrough", False)  # it has a PCI device of its host
        self.fault_tolerance = keys.get("fault_tolerance", "notConfigured")
        self.disabled = keys.get("disabled", [])  # methods
        self.boot_keys = keys.get("boot_keys", [])  # of the disks that its boot options name
        self.opaque_network = keys.get("opaque_network")  # the id that its network adapter names
        self.lock = None  # the lease that holds it

    def file(self, disk, suffix=""):
        if disk.path:
            return disk.path.removesuffix(".vmdk") + suffix + ".vmdk"
        return f"[store 1] {self.name}/{self.name}_{disk.key}{suffix}.vmdk"


class Lease:
    def __init__(self, ref, vm, session, timeout):
        self.ref, self.vm, self.session, self.timeout = ref, vm, session, timeout
        self.state, self.renewed, self.renewals = "ready", time.monotonic(), 0
        self.initializing, self.ready = 0, True  # looks at its state that still see it so
        self.sent = {}  # disk key → (sha1, length) of what was sent last

    def alive(self):
        if self.state == "ready" and time.monotonic() - self.renewed > self.timeout:
            self.state = "expired"
        return self.state == "ready"


class Model:
    """The inventory: /DC 1/vm/[prod/]NAME on one host of a cluster, with one datastore."""

    ROOT, DATACENTER = ("Folder", "group-d1"), ("Datacenter", "datacenter-2")
    VM_FOLDER, PROD = ("Folder", "group-v3"), ("Folder", "group-v4")
    CLUSTER, HOST, STORE = ("ClusterComputeResource", "domain-c7"), ("HostSystem", "host-9"), ("Datastore", "datastore-11")
    OPAQUE = ("OpaqueNetwork", "network-o31")
    BROWSER = ("HostDatastoreBrowser", "datastoreBrowser-11")
    UUID = "11111111-2222-3333-4444-555555555555"

    def __init__(self, dialect):
        self.dialect = dialect
        self.vms, self.leases, self.tasks = {}, {}, {}
        self.sessions = {}  # key → cookie's value, quotes included
        self.ended_leases = []  # [(ref, "done" | "aborted")]
        self.numbers = itertools.count(100)
        self.places = {
            self.ROOT: ("Datacenters", None), self.DATACENTER: ("DC 1", self.ROOT),
            self.VM_FOLDER: ("vm", self.DATACENTER), self.PROD: ("prod", self.VM_FOLDER),
            self.CLUSTER: ("cluster", self.ROOT), self.HOST: ("esx1.test", self.CLUSTER),
            self.STORE: ("store 1", self.DATACENTER), self.OPAQUE: ("tier-web", self.DATACENTER)}
        self.cluster, self.cluster_reads = None, 0  # what is within its configurationEx: XML
        self.host = {"runtime.connectionState": "connected"}  # what the server tells of HOST

    def add_vm(self, name, contents, power="poweredOff", **keys):
        disks = [c if isinstance(c, Disk) else Disk(2000 + i, c, unit=i) for i, c in enumerate(contents)]
        vm = Vm(next(self.numbers), name, disks, power, **keys)
        self.vms[vm.ref[1]] = vm
        return vm

    def snapshot_vm(self, ref_id):
        return next((vm for vm in self.vms.values() for ref, _ in vm.snapshots if ref[1] == ref_id), None)

    def new_task(self, method, entity, work):
        """A task that is at work until finish_task: work() returns a reference, a <val>, None, or a fault's ("!kind", text)."""
        task = ("Task", f"task-{next(self.numbers)}")
        name = method.removesuffix("_Task")
        self.tasks[task[1]] = {"work": work, "entity": entity, "kind": f"{entity[0]}.{name[0].lower()}{name[1:]}"}
        return task

    def tasks_at_work(self):
        return [("Task", ref) for ref, task in self.tasks.items() if "work" in task]

    def finish_task(self, task):
        state = self.tasks[task[1]]
        done = state.pop("work")()
        failed = isinstance(done, tuple) and done[0].startswith("!")
        state.update({"error": (done[0][1:], done[1])} if failed else {"result": done})

    # --- properties

    def value(self, ref, path):
        """<val> of the property; None where it is not set. Raises KeyError for an object there is not."""
        kind, ref_id = ref
        if kind == "VirtualMachine":
            return self._vm(self.vms[ref_id], path)
        if kind == "VirtualMachineSnapshot":
            vm = self.snapshot_vm(ref_id)
            if vm is None:
                raise KeyError(ref_id)
            return self._devices(vm, frozen=True) if path == "config.hardware.device" else None
        if kind == "Task":
            return self._task(self.tasks[ref_id], path)
        if kind == "HttpNfcLease":
            return self._lease(self.leases[ref_id], path)
        name, parent = self.places[(kind, ref_id)]
        if ref == self.HOST and path in self.host:
            return self.dialect.string("val", self.host[path])
        if (ref, path) == (self.CLUSTER, "configurationEx"):
            self.cluster_reads += 1
            return None if self.cluster is None else self.dialect.typed("val", "ClusterConfigInfoEx", self.cluster)
        if path == "name":
            return self.dialect.string("val", name)
        if (ref, path) == (self.OPAQUE, "summary"):
            return self.dialect.typed("val", "OpaqueNetworkSummary", f"<name>{name}</name><opaqueNetworkId>"
                                      "3d7b0d25-nsx</opaqueNetworkId><opaqueNetworkType>nsx.LogicalSwitch</opaqueNetworkType>")
        if (ref, path) == (self.STORE, "browser"):
            return self.dialect.ref("val", self.BROWSER)
        return self.dialect.ref("val", parent) if path == "parent" and parent else None

    def _task(self, task, path):
        d = self.dialect
        if path == "info.state":
            return d.enum("val", "TaskInfoState",
                          "running" if "work" in task else "error" if "error" in task else "success")
        if path == "info.descriptionId":
            return d.string("val", task["kind"])
        if path == "info.error" and "error" in task:
            return d.fault("val", *task["error"])
        if path == "info.result" and task.get("result"):
            return task["result"] if isinstance(task["result"], str) else d.ref("val", task["result"])
        return None

    def _lease(self, lease, path):
        d = self.dialect
        if path == "state":
            lease.ready, lease.initializing = lease.initializing == 0, max(0, lease.initializing - 1)
            return d.enum("val", "HttpNfcLeaseState",
                          "error" if not lease.alive() else "ready" if lease.ready else "initializing")
        if path == "info" and lease.ready:
            urls = "".join(
                f'<deviceUrl><key>/{lease.vm.ref[1]}/ParaVirtualSCSIController0:{disk.unit}</key><importKey/>'
                f"<url>{escape(lease.url(disk))}</url><sslThumbprint>{lease.thumbprint}</sslThumbprint><disk>true</disk>"
                f"<targetId>disk-{disk.unit}.vmdk</targetId></deviceUrl>" for disk in lease.offered)
            nvram = (f"<deviceUrl><key>/{lease.vm.ref[1]}/nvram</key><importKey/><url>https://*/nfc/x/nvram</url>"
                     "<sslThumbprint/><disk>false</disk><targetId>nvram</targetId><fileSize>8684</fileSize></deviceUrl>")
            return d.typed("val", "HttpNfcLeaseInfo", f'<lease type="HttpNfcLease">{lease.ref[1]}</lease>'
                           f'<entity type="VirtualMachine">{lease.vm.ref[1]}</entity>{nvram}{urls}'
                           f"<totalDiskCapacityInKB>1</totalDiskCapacityInKB><leaseTimeout>{lease.timeout}</leaseTimeout>")
        if path == "error" and not lease.alive():
            return d.fault("val", "Timedout", "the lease expired")
        return None

    def _vm(self, vm, path):
        d = self.dialect
        simple = {
            "name": vm.name, "config.uuid": vm.uuid, "config.instanceUuid": vm.instance_uuid, "config.version": "vmx-19",
            "config.guestId": "debian12_64Guest", "config.guestFullName": "Debian GNU/Linux 12 (64-bit)",
            "config.firmware": "efi", "runtime.connectionState": vm.connection,
            "runtime.faultToleranceState": vm.fault_tolerance, "config.annotation": "a test's VM", "config.files.vmPathName": f"[store 1] {vm.name}.vmx",
            "guest.guestFamily": "linuxGuest", "guest.hostName": vm.name, "guest.toolsRunningStatus": vm.tools,
            "summary.config.guestFullName": "Debian GNU/Linux 12 (64-bit)"}
        numbers = {"config.hardware.numCPU": 2, "config.hardware.numCoresPerSocket": 1, "config.hardware.memoryMB": 1024,
                   "summary.config.numCpu": 2, "summary.config.memorySizeMB": 1024,
                   "summary.config.numVirtualDisks": len(vm.disks), "summary.storage.committed": 1 << 20}
        flags = {"config.template": vm.template, "config.changeTrackingEnabled": vm.change_tracking, "capability.changeTrackingSupported": True,
                 "runtime.consolidationNeeded": vm.consolidation_needed,
                 "config.bootOptions.efiSecureBootEnabled": True}
        refs = {"parent": vm.folder, "runtime.host": self.HOST}
        if path in simple:
            return d.string("val", simple[path])
        if path in numbers:
            return d.integer("val", numbers[path])
        if path in flags:
            return d.boolean("val", flags[path])
        if path in refs:
            return d.ref("val", refs[path])
        if path == "guest.net":
            return d.typed("val", "ArrayOfGuestNicInfo", f"<GuestNicInfo><ipAddress>192.0.2.7</ipAddress><macAddress>{vm.mac}"
                           "</macAddress></GuestNicInfo>")
        if path == "config.extraConfig":
            return d.typed("val", "ArrayOfOptionValue", "".join(d.typed("OptionValue", "OptionValue", f"<key>{key}</key>"
                           + d.string("value", value)) for key, value in vm.settings.items()))
        if path == "disabledMethod":
            return d.typed("val", "ArrayOfString", "".join(f"<string>{method}</string>" for method in vm.disabled))
        if path == "config.bootOptions.bootOrder" and vm.boot_keys:
            devices = d.typed("VirtualMachineBootOptionsBootableDevice", "VirtualMachineBootOptionsBootableCdromDevice", "")
            devices += "".join(d.typed("VirtualMachineBootOptionsBootableDevice", "VirtualMachineBootOptionsBootableDiskDevice",
                                       f"<deviceKey>{key}</deviceKey>") for key in vm.boot_keys)
            return d.typed("val", "ArrayOfVirtualMachineBootOptionsBootableDevice", devices)
        if path == "network":
            return d.refs("val", [self.OPAQUE] if vm.opaque_network else [])
        if path == "datastore":
            return d.refs("val", [self.STORE])
        if path == "recentTask":
            return d.refs("val", [("Task", ref) for ref, task in self.tasks.items() if task["entity"] == vm.ref])
        if path == "runtime.powerState":
            return d.enum("val", "VirtualMachinePowerState", vm.power)
        if path == "config.hardware.device":
            return self._devices(vm)
        if path == "config.keyId" and vm.encrypted:
            return d.typed("val", "CryptoKeyId", "<keyId>k</keyId>")
        if path == "layoutEx":
            return self._layout(vm)
        if path == "snapshot" and vm.snapshots:
            inner = ""
            for ref, name in reversed(vm.snapshots):
                inner = (f'<childSnapshotList>{self._snapshot(ref, name)}{inner}</childSnapshotList>')
            inner = "<rootSnapshotList>" + inner[len("<childSnapshotList>"):-len("</childSnapshotList>")] + "</rootSnapshotList>"
            return d.typed("val", "VirtualMachineSnapshotInfo", inner)
        return None

    def _snapshot(self, ref, name):
        return f'<snapshot type="{ref[0]}">{ref[1]}</snapshot><name>{escape(name)}</name>'

    def folder(self, path, pattern, times):
        """What the datastore's browser finds in it."""
        out = f"<datastore type=\"Datastore\">{self.STORE[1]}</datastore><folderPath>{escape(path)}</folderPath>"
        for vm, disk in ((vm, disk) for vm in self.vms.values() for disk in vm.disks if disk.flat):
            folder, name = vm.file(disk, "-flat").rsplit("/", 1)
            if folder == path and fnmatch.fnmatchcase(name, pattern):
                time_of = f"<modification>{disk.modified}</modification>" if times else ""
                out += self.dialect.typed(
                    "file", "FileInfo", f"<path>{escape(name)}</path><fileSize>{disk.capacity}</fileSize>{time_of}")
        return self.dialect.typed("val", "HostDatastoreBrowserSearchResults", out)

    def _layout(self, vm):
        files = ""
        for number, disk in enumerate(vm.disks):
            files += f"<file><key>{number}</key><name>{escape(vm.file(disk))}</name><type>diskDescriptor</type></file>"
            if disk.flat:
                files += (f"<file><key>{number + 100}</key><name>{escape(vm.file(disk, '-flat'))}</name>"
                          "<type>diskExtent</type></file>")
        return self.dialect.typed("val", "VirtualMachineFileLayoutEx", files)

    def _devices(self, vm, frozen=False):
        d = self.dialect
        out = (f'<VirtualDevice {d.instance}:type="{d.own}ParaVirtualSCSIController"><key>1000</key>'
               f"<busNumber>0</busNumber><sharedBus>{vm.bus_sharing}</sharedBus></VirtualDevice>")
        parent = "<parent><fileName>[store 1] below.vmdk</fileName></parent>" if vm.snapshots and not frozen else ""
        for disk in vm.disks:
            place = (f'<fileName>{escape(vm.file(disk))}</fileName><datastore type="Datastore">{self.STORE[1]}</datastore>'
                     if disk.datastore else "<fileName>[] /vmfs/devices/disks/t10.disk</fileName>")
            backing = d.typed("backing", disk.backing,
                              f"{place}<diskMode>{disk.mode}</diskMode><thinProvisioned>true</thinProvisioned>"
                              f"<uuid>6000C29f-{vm.ref[1]}-{disk.key}</uuid>"
                              f"<changeId>52 aa/{len(vm.snapshots)}</changeId>{parent}<sharing>{disk.sharing}</sharing>")
            out += d.typed("VirtualDevice", "VirtualDisk",
                           f"<key>{disk.key}</key><deviceInfo><label>Hard disk {disk.unit + 1}</label><summary/></deviceInfo>"
                           f"{backing}<controllerKey>1000</controllerKey><unitNumber>{disk.unit}</unitNumber>"
                           f"<capacityInKB>{disk.capacity // 1024}</capacityInKB>"
                           f"<capacityInBytes>{disk.capacity}</capacityInBytes>")
        out += d.typed("VirtualDevice", "VirtualVmxnet3",
                       "<key>4000</key><deviceInfo><label>Network adapter 1</label><summary>LAN</summary></deviceInfo>"
                       + (d.typed("backing", "VirtualEthernetCardOpaqueNetworkBackingInfo",
                                  f"<opaqueNetworkId>{vm.opaque_network}</opaqueNetworkId>") if vm.opaque_network else
                          d.typed("backing", "VirtualEthernetCardNetworkBackingInfo", "<deviceName>LAN</deviceName>"))
                       + f"<macAddress>{vm.mac}</macAddress>")
        if vm.passthrough:
            out += d.typed("VirtualDevice", "VirtualPCIPassthrough",
                           "<key>13000</key><deviceInfo><label>PCI device 0</label><summary/></deviceInfo>")
        if vm.tpm:
            out += d.typed("VirtualDevice", "VirtualTPM", "<key>11000</key>")
        return d.typed("val", "ArrayOfVirtualDevice", out)


def sample(capacity=8 << 20, seed=1, density=0.3):
    return Content.sample(capacity, seed, density)
