# SPDX-License-Identifier: Apache-2.0
"""Descriptor text (.ovf) in the dialects of the field: VMware, VirtualBox, OVF 2.0.

`Machine`, `DiskRef`, `Nic` say what a VM is; `envelope()` writes it down. The factory and the
sample share this file, so every descriptor of the tests comes from one place.
"""

from dataclasses import dataclass, field
from urllib.parse import quote
from xml.sax.saxutils import escape, quoteattr

STREAM = "http://www.vmware.com/interfaces/specifications/vmdk.html#streamOptimized"
RASD = "http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_ResourceAllocationSettingData"
VSSD = "http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_VirtualSystemSettingData"
EPASD = "http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_EthernetPortAllocationSettingData.xsd"
SASD = "http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_StorageAllocationSettingData.xsd"


@dataclass
class DiskRef:
    """A disk of the envelope. `file` None is a blank disk. Sizes in bytes; `units` is what the
    descriptor counts capacity in, e.g. "byte * 2^30"; `capacity_text` overrides the number."""
    capacity: int
    file: str = None
    file_id: str = None
    disk_id: str = "vmdisk1"
    units: str = None
    capacity_text: str = None
    populated: int = None
    format: str = STREAM


@dataclass
class Nic:
    network: str = "VM Network"
    mac: str = None
    model: str = "VmxNet3"


@dataclass
class File:
    """A <File> of the references. `size` None leaves ovf:size out."""
    id: str
    href: str
    size: int = None
    compression: str = None
    chunk_size: int = None


@dataclass
class Machine:
    id: str = "sample-vm"
    name: str = None
    cpus: int = 2
    memory_mib: int = 1024
    memory_units: str = "byte * 2^20"
    firmware: str = None          # None leaves it out; "bios" | "efi"
    secure_boot: bool = False
    tpm: bool = False
    os_id: int = 96               # CIM: Debian 64-bit
    os_type: str = "debian12_64Guest"
    disks: list = field(default_factory=list)
    nics: list = field(default_factory=list)
    iso_file_id: str = None
    nvram_file_id: str = None
    controller: str = "lsilogic"  # lsilogic | VirtualSCSI | ide | AHCI


_UNIT = {"byte": 1, "byte * 2^10": 1 << 10, "byte * 2^20": 1 << 20, "byte * 2^30": 1 << 30,
         "byte * 2^40": 1 << 40, "MegaBytes": 1 << 20, "GigaBytes": 1 << 30, "byte * 10^9": 10 ** 9,
         "byte*2^20": 1 << 20, "KiloBytes": 1 << 10, "byte * 512": 512}


def href_of(name):
    """A file name as a URI reference: the OVF specification wants RFC 3986."""
    return quote(name)


def _item(fields, tag="Item", prefix="rasd"):
    body = "".join(f"        <{prefix}:{k}>{escape(str(v))}</{prefix}:{k}>\n" for k, v in fields if v is not None)
    return f"      <{tag}>\n{body}      </{tag}>\n"


_CONTROLLER = {"lsilogic": (6, "lsilogic"), "VirtualSCSI": (6, "VirtualSCSI"),
               "ide": (5, "PIIX4"), "AHCI": (20, "AHCI")}


def _hardware(machine, dialect):
    version2 = dialect == "ovf2"
    family = {"vmware": "vmx-13", "virtualbox": "virtualbox-2.2", "ovf2": "vmx-13"}[dialect]
    out = "    <VirtualHardwareSection>\n      <Info>Virtual hardware requirements</Info>\n      <System>\n" \
          "        <vssd:ElementName>Virtual Hardware Family</vssd:ElementName>\n" \
          "        <vssd:InstanceID>0</vssd:InstanceID>\n" \
          f"        <vssd:VirtualSystemIdentifier>{escape(machine.id)}</vssd:VirtualSystemIdentifier>\n" \
          f"        <vssd:VirtualSystemType>{family}</vssd:VirtualSystemType>\n      </System>\n"
    memory = machine.memory_mib * (1 << 20) // _UNIT[machine.memory_units]
    out += _item([("AllocationUnits", "hertz * 10^6"), ("Description", "Number of Virtual CPUs"),
                  ("ElementName", f"{machine.cpus} virtual CPU(s)"), ("InstanceID", 1),
                  ("ResourceType", 3), ("VirtualQuantity", machine.cpus)])
    out += _item([("AllocationUnits", machine.memory_units), ("Description", "Memory Size"),
                  ("ElementName", f"{machine.memory_mib}MB of memory"), ("InstanceID", 2),
                  ("ResourceType", 4), ("VirtualQuantity", memory)])
    kind, subtype = _CONTROLLER[machine.controller]
    out += _item([("Address", 0), ("Description", "Disk Controller"), ("ElementName", "Controller 0"),
                  ("InstanceID", 3), ("ResourceSubType", subtype), ("ResourceType", kind)])
    if machine.iso_file_id:
        out += _item([("AddressOnParent", 0), ("AutomaticAllocation", "true"), ("ElementName", "CD/DVD Drive 1"),
                      ("HostResource", f"ovf:/file/{machine.iso_file_id}"), ("InstanceID", 4), ("ResourceType", 15)])
    for index, disk in enumerate(machine.disks):
        fields = [("AddressOnParent", index), ("ElementName", f"Hard Disk {index + 1}"),
                  ("HostResource", f"ovf:/disk/{disk.disk_id}"), ("InstanceID", 10 + index),
                  ("Parent", 3), ("ResourceType", 17)]
        out += _item(fields, "StorageItem", "sasd") if version2 else _item(fields)
    for index, nic in enumerate(machine.nics):
        fields = [("Address", nic.mac), ("AddressOnParent", 7 + index), ("AutomaticAllocation", "true"),
                  ("Connection", nic.network), ("ElementName", f"Network adapter {index + 1}"),
                  ("InstanceID", 50 + index), ("ResourceSubType", nic.model), ("ResourceType", 10)]
        out += _item(fields, "EthernetPortItem", "epasd") if version2 else _item(fields)
    if machine.tpm:
        out += _item([("AutomaticAllocation", "false"), ("ElementName", "Virtual TPM"), ("InstanceID", 90),
                      ("ResourceSubType", "vmware.vtpm"), ("ResourceType", 1)])
    if dialect != "virtualbox":
        if machine.firmware:
            out += f'      <vmw:Config ovf:required="false" vmw:key="firmware" vmw:value="{machine.firmware}"/>\n'
        if machine.secure_boot:
            out += '      <vmw:Config ovf:required="false" vmw:key="bootOptions.efiSecureBootEnabled" vmw:value="true"/>\n'
        if machine.nvram_file_id:
            out += '      <vmw:ExtraConfig ovf:required="false" vmw:key="nvram" ' \
                   f'vmw:value="ovf:/file/{machine.nvram_file_id}"/>\n'
    return out + "    </VirtualHardwareSection>\n"


def _virtualbox_machine(machine):
    firmware = f'        <Firmware type="{"EFI" if machine.firmware == "efi" else "BIOS"}"/>\n' if machine.firmware else ""
    adapters = "".join(
        f'          <Adapter slot="{i}" enabled="true" MACAddress="{(n.mac or "080027000000").replace(":", "")}" '
        'type="82540EM"/>\n' for i, n in enumerate(machine.nics))
    return (f'    <vbox:Machine ovf:required="false" version="1.19-linux" '
            f'uuid="{{8d0ac4f8-6d3b-4f1a-9e52-0f1c2d3e4f50}}" name={quoteattr(machine.name or machine.id)} '
            'OSType="Debian_64">\n      <ovf:Info>Complete VirtualBox machine configuration in VirtualBox format'
            f"</ovf:Info>\n      <Hardware>\n{firmware}        <Network>\n{adapters}        </Network>\n"
            "      </Hardware>\n    </vbox:Machine>\n")


def _system(machine, dialect):
    name = machine.name if machine.name is not None else machine.id
    out = f"  <VirtualSystem ovf:id={quoteattr(machine.id)}>\n    <Info>A virtual machine</Info>\n"
    if dialect != "virtualbox":
        out += f"    <Name>{escape(name)}</Name>\n"
        out += f'    <OperatingSystemSection ovf:id="{machine.os_id}" vmw:osType="{machine.os_type}">\n'
        out += "      <Info>The kind of installed guest operating system</Info>\n"
        out += "      <Description>Debian GNU/Linux 12 (64-bit)</Description>\n"
    else:
        out += f'    <OperatingSystemSection ovf:id="{machine.os_id}">\n'
        out += "      <Info>The kind of installed guest operating system</Info>\n"
        out += "      <Description>Debian_64</Description>\n"
        out += '      <vbox:OSType ovf:required="false">Debian_64</vbox:OSType>\n'
    out += "    </OperatingSystemSection>\n" + _hardware(machine, dialect)
    if dialect == "virtualbox":
        out += _virtualbox_machine(machine)
    return out + "  </VirtualSystem>\n"


def envelope(machines, files, dialect="vmware", collection=None):
    """The descriptor's text. `files` are File; `collection` is the id of a VirtualSystemCollection
    around the machines (needed when there is more than one)."""
    version = 2 if dialect == "ovf2" else 1
    base = f"http://schemas.dmtf.org/ovf/envelope/{version}"
    extra = {"vmware": ' vmw:buildId="build-20497097"', "virtualbox": ' ovf:version="1.0" xml:lang="en-US"',
             "ovf2": ""}[dialect]
    out = '<?xml version="1.0" encoding="UTF-8"?>\n'
    out += f'<Envelope{extra} xmlns="{base}" xmlns:ovf="{base}" xmlns:rasd="{RASD}" xmlns:vssd="{VSSD}"'
    out += f' xmlns:epasd="{EPASD}" xmlns:sasd="{SASD}"' if version == 2 else ""
    out += ' xmlns:vmw="http://www.vmware.com/schema/ovf" xmlns:vbox="http://www.virtualbox.org/ovf/machine"'
    out += ' xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">\n  <References>\n'
    for f in files:
        out += f"    <File ovf:href={quoteattr(f.href)} ovf:id={quoteattr(f.id)}"
        out += f' ovf:size="{f.size}"' if f.size is not None else ""
        out += f' ovf:compression="{f.compression}"' if f.compression else ""
        out += f' ovf:chunkSize="{f.chunk_size}"' if f.chunk_size else ""
        out += "/>\n"
    out += "  </References>\n  <DiskSection>\n    <Info>Virtual disk information</Info>\n"
    for disk in [d for m in machines for d in m.disks]:
        number = disk.capacity_text or str(disk.capacity // _UNIT[disk.units or "byte"])
        out += f'    <Disk ovf:capacity="{number}"'
        out += f' ovf:capacityAllocationUnits="{disk.units}"' if disk.units else ""
        out += f' ovf:diskId="{disk.disk_id}"'
        out += f' ovf:fileRef="{disk.file_id}"' if disk.file_id else ""
        out += f' ovf:format="{disk.format}"'
        out += f' ovf:populatedSize="{disk.populated}"' if disk.populated is not None else ""
        out += "/>\n"
    out += "  </DiskSection>\n"
    networks = sorted({n.network for m in machines for n in m.nics})
    if networks:
        out += "  <NetworkSection>\n    <Info>The list of logical networks</Info>\n"
        for n in networks:
            out += f"    <Network ovf:name={quoteattr(n)}>\n      <Description>The {escape(n)} network</Description>\n    </Network>\n"
        out += "  </NetworkSection>\n"
    systems = "".join(_system(m, dialect) for m in machines)
    if collection:
        systems = f"  <VirtualSystemCollection ovf:id={quoteattr(collection)}>\n    <Info>A collection of virtual machines</Info>\n" \
                  f"    <Name>{escape(collection)}</Name>\n{systems}  </VirtualSystemCollection>\n"
    return out + systems + "</Envelope>\n"
