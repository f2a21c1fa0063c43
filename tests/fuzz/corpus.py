#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes the seeds of the fuzz targets from the tests' own files and from what qemu-img makes:  corpus.py [DIRECTORY]

The seeds are in the tree (tests/fuzz/corpus), so that a run needs neither; this program says where they came from. Images are
packed as image.hpp says."""
import gzip
import io
import json
import os
import pathlib
import struct
import subprocess
import sys
import tarfile
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
for place in ("support", "vsphere"):
    sys.path.insert(0, str(ROOT / "tests" / place))
import vcenter_model  # noqa: E402
import vmdk_writer  # noqa: E402

SECTOR = 512
KIB, MIB = 1024, 1024 * 1024


def packed(image, checksums=False):
    """image.hpp's form of an image's bytes."""
    sectors = -(-len(image) // SECTOR)
    image = image.ljust(sectors * SECTOR, b"\0")
    out = sectors.to_bytes(3, "little") + bytes([1 if checksums else 0])
    at = 0
    while at < sectors:
        if not any(image[at * SECTOR:(at + 1) * SECTOR]):
            at += 1
            continue
        end = at
        while end < sectors and end - at < 64 and any(image[end * SECTOR:(end + 1) * SECTOR]):
            end += 1
        data = image[at * SECTOR:end * SECTOR].rstrip(b"\0")
        out += at.to_bytes(3, "little") + len(data).to_bytes(2, "little") + data
        at = end
    return out


def guest(size, runs):
    disk = bytearray(size)
    for at, text in runs:
        disk[at:at + len(text)] = text
    return bytes(disk)


class Seeds:
    def __init__(self, directory):
        self.directory = pathlib.Path(directory)
        self.work = tempfile.TemporaryDirectory()

    def write(self, target, name, data):
        place = self.directory / target
        place.mkdir(parents=True, exist_ok=True)
        (place / name).write_bytes(data if isinstance(data, bytes) else data.encode())

    def qemu(self, *command):
        subprocess.run(["qemu-img", *command], check=True, cwd=self.work.name, stdout=subprocess.DEVNULL)

    def converted(self, raw, form, options=""):
        path = pathlib.Path(self.work.name)
        (path / "raw").write_bytes(raw)
        (path / "image").unlink(missing_ok=True)
        self.qemu("convert", "-f", "raw", "-O", form, *(["-o", options] if options else []), "raw", "image")
        return (path / "image").read_bytes()


def images(seeds):
    small = guest(MIB, [(0, b"boot" * 40 + b"\x55\xaa"), (300 * KIB, b"middle"), (MIB - 600, b"end" * 100)])
    odd = guest(192 * KIB + SECTOR, [(0, b"x" * SECTOR), (100 * KIB, b"y" * 700)])
    for name, raw in (("small", small), ("odd", odd)):
        for cluster in (512, 4096, 65536):
            seeds.write("qcow2", f"{name}-{cluster}", packed(seeds.converted(raw, "qcow2", f"cluster_size={cluster}")))
        seeds.write("qcow2", f"{name}-extended-l2",
                    packed(seeds.converted(raw, "qcow2", "cluster_size=16384,extended_l2=on")))
        seeds.write("qcow2", f"{name}-v2", packed(seeds.converted(raw, "qcow2", "cluster_size=4096,compat=0.10")))
        seeds.write("vmdk", f"{name}-sparse", packed(seeds.converted(raw, "vmdk")))
        stream = seeds.converted(raw, "vmdk", "subformat=streamOptimized")
        seeds.write("vmdk", f"{name}-stream", packed(stream))
        seeds.write("vmdk_stream", f"{name}-qemu", packed(stream))
        seeds.write("vdi", name, packed(seeds.converted(raw, "vdi")))
        seeds.write("vdi", f"{name}-static", packed(seeds.converted(raw, "vdi", "static=on")))
        for kind in ("dynamic", "fixed"):
            image = seeds.converted(raw, "vpc", f"subformat={kind},force_size=on")
            seeds.write("vhd", f"{name}-{kind}", packed(image, checksums=True))
        image = seeds.converted(raw, "vhdx", "block_size=1M,log_size=1M")
        seeds.write("vhdx", name, packed(image, checksums=True))
    for compression in ("zlib", "zstd"):
        path = pathlib.Path(seeds.work.name)
        (path / "raw").write_bytes(small)
        seeds.qemu("convert", "-c", "-f", "raw", "-O", "qcow2", "-o", f"cluster_size=4096,compression_type={compression}",
                   "raw", "image")
        seeds.write("qcow2", f"small-{compression}", packed((path / "image").read_bytes()))
    seeds.write("vhdx", "log", packed(with_log(seeds.converted(small, "vhdx", "block_size=1M,log_size=1M")), checksums=True))
    content = vmdk_writer.Content.sample(256 * KIB, 3, 0.2)
    for name, zeros in (("vmware", False), ("vmware-zero-grains", True)):
        stream = vmdk_writer.stream_optimized(content, embedded_zero_grains=zeros)
        seeds.write("vmdk_stream", name, packed(stream))
        seeds.write("vmdk", name, packed(stream))
    for target in ("qcow2", "vmdk", "vdi", "vhd", "vhdx"):
        one = sorted((seeds.directory / target).iterdir())[-1]
        seeds.write("probe", target, one.read_bytes())
    seeds.write("probe", "raw", packed(small))


def with_log(image):
    """An active log of one entry that writes a sector of zeros over the end of the data, as a writer that was killed leaves."""
    image = bytearray(image)
    guid = bytes(range(1, 17))
    log_length, log_offset = struct.unpack_from("<IQ", image, 64 * KIB + 68)
    for header in (64 * KIB, 128 * KIB):
        image[header + 48:header + 64] = guid
    entry = bytearray(4096)
    struct.pack_into("<4sIIIQII16sQQ", entry, 0, b"loge", 0, 4096, 0, 1, 1, 0, guid, len(image), len(image))
    struct.pack_into("<4sIQQQ", entry, 64, b"zero", 0, 4096, len(image) - 4096, 1)
    image[log_offset:log_offset + 4096] = entry
    assert log_length >= 4096
    return bytes(image)


def descriptors(seeds):
    text = vmdk_writer.descriptor_text(256 * KIB, "disk-flat.vmdk").rstrip(b"\0").decode()
    seeds.write("vmdk_descriptor", "stream", text)
    head = text.split("RDONLY ")[0].replace("streamOptimized", "{kind}")
    for name, kind, extents in (
            ("flat", "monolithicFlat", 'RW 512 FLAT "disk-flat.vmdk" 0\n'),
            ("split", "twoGbMaxExtentFlat", 'RW 256 FLAT "a-f001.vmdk" 0\nRW 256 FLAT "a-f002.vmdk" 128\n'),
            ("vmfs", "vmfs", 'RW 512 VMFS "disk-flat.vmdk"\n'), ("zero", "custom", 'RW 256 ZERO\nRW 256 FLAT "x" 0\n'),
            ("sparse", "monolithicSparse", 'RW 512 SPARSE "s.vmdk"\n'),
            ("outside", "monolithicFlat", 'RW 512 FLAT "../disk.vmdk" 0\n')):
        seeds.write("vmdk_descriptor", name, head.replace("{kind}", kind) + extents + '\nddb.adapterType = "ide"\n')
    seeds.write("vmdk_descriptor", "parent", head.replace("{kind}", "monolithicFlat").replace(
        "parentCID=ffffffff", 'parentCID=12345678\nparentFileNameHint="base.vmdk"') + 'RW 512 FLAT "d" 0\n')


def packages(seeds):
    for path in sorted((ROOT / "tests/data/ovf").glob("*.ovf")):
        seeds.write("ovf", path.stem, path.read_bytes())
    seeds.write("mf", "sha256", "SHA256(vm.ovf)= " + "0a" * 32 + "\nSHA256(disk.vmdk)= " + "1B" * 32 + "\n")
    seeds.write("mf", "sha1-crlf", "\ufeffSHA1 (vm.ovf) = " + "0a" * 20 + "\r\nSHA512(./a%20b.vmdk)=" + "ff" * 64 + "\r\n")
    for name, form in (("ustar", tarfile.USTAR_FORMAT), ("pax", tarfile.PAX_FORMAT), ("gnu", tarfile.GNU_FORMAT)):
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w", format=form) as archive:
            for member, data in (("vm.ovf", b"<Envelope/>"), ("d" * (90 if form == tarfile.USTAR_FORMAT else 150), b"x" * 600)):
                info = tarfile.TarInfo(member)
                info.size = len(data)
                if form == tarfile.PAX_FORMAT:
                    info.pax_headers = {"comment": "c", "mtime": "1.5"}
                archive.addfile(info, io.BytesIO(data))
            link = tarfile.TarInfo("link")
            link.type, link.linkname = tarfile.SYMTYPE, "../x"
            archive.addfile(link)
        seeds.write("tar", name, packed(out.getvalue()))
    seeds.write("gzip", "one", gzip.compress(b"hello" * 100, mtime=0))
    seeds.write("gzip", "two-members", gzip.compress(b"a" * 5000, mtime=0) + gzip.compress(b"b", mtime=0) + b"\0" * 20)
    seeds.write("gzip", "bomb", gzip.compress(b"\0" * (2 * MIB), mtime=0))


def envelope(dialect, body):
    return (f"200\n\n<soapenv:Envelope xmlns:soapenv='http://schemas.xmlsoap.org/soap/envelope/' xmlns='urn:vim25' "
            f"xmlns:xsi='http://www.w3.org/2001/XMLSchema-instance' xmlns:{dialect.instance}='x'><soapenv:Body>{body}"
            "</soapenv:Body></soapenv:Envelope>\n")


def object_answer(dialect, ref, properties, token=""):
    sets = "".join(f"<propSet><name>{name}</name>{value}</propSet>" for name, value in properties.items() if value)
    return envelope(dialect, f"<RetrievePropertiesExResponse><returnval>{token}<objects><obj type='{ref[0]}'>{ref[1]}</obj>"
                             f"{sets}</objects></returnval></RetrievePropertiesExResponse>")


VM_PATHS = ("name parent config.uuid config.instanceUuid config.version config.guestId config.guestFullName config.firmware "
            "config.annotation config.template config.changeTrackingEnabled config.files.vmPathName config.hardware.numCPU "
            "config.hardware.memoryMB config.hardware.device runtime.powerState runtime.host guest.toolsRunningStatus "
            "guest.guestFamily snapshot layoutEx recentTask").split()


def soap(seeds):
    for name, dialect in (("vcenter", vcenter_model.Dialect()), ("other-prefixes", vcenter_model.Dialect("i", "vim:"))):
        model = vcenter_model.Model(dialect)
        vm = model.add_vm("web 01", [vcenter_model.sample(MIB)])
        vm.snapshots.append((("VirtualMachineSnapshot", "snapshot-1"), "before"))
        answers = [object_answer(dialect, vm.ref, {path: model._vm(vm, path) for path in VM_PATHS})]
        parent = {"name": dialect.string("val", "folder"), "parent": dialect.ref("val", ("Datacenter", "dc-1"))}
        top = {"name": dialect.string("val", "dc"), "parent": dialect.ref("val", ("Folder", "group-d1"))}
        for properties in (parent, top, {"name": dialect.string("val", "root")}, top, parent):
            answers.append(object_answer(dialect, ("Folder", "group-v3"), properties))
        listed = object_answer(dialect, vm.ref, {"name": dialect.string("val", "web 01")})
        seeds.write("soap", f"vm-{name}", "+" + "%%\n".join(answers))
        view = envelope(dialect, "<CreateContainerViewResponse><returnval type='ContainerView'>view-1</returnval>"
                                 "</CreateContainerViewResponse>")
        refused = object_answer(dialect, vm.ref, {})
        page = object_answer(dialect, vm.ref, {"name": dialect.string("val", "a")}, "<token>1</token>")
        seeds.write("soap", f"list-{name}", "+" + "%%\n".join([refused, view, page, listed]))
    fault = ("500\n\n<e:Envelope xmlns:e='x'><e:Body><e:Fault><faultcode>ServerFaultCode</faultcode><faultstring>no"
             "</faultstring><detail><NoPermissionFault xmlns:i='x' i:type='NoPermission'><privilegeId>VApp.Export"
             "</privilegeId></NoPermissionFault></detail></e:Fault></e:Body></e:Envelope>\n")
    seeds.write("soap", "fault", "+" + fault)
    seeds.write("soap", "from-the-start", "200\n\n<namespaces/>\n%%\n" + fault)
    missing = ("200\n\n<e:Envelope xmlns:e='x' xmlns:i='y'><e:Body><R><returnval><objects><obj type='VirtualMachine'>vm-1</obj>"
               "<missingSet><path>name</path><fault><fault i:type='NotAuthenticated'/></fault></missingSet></objects>"
               "</returnval></R></e:Body></e:Envelope>\n")
    seeds.write("soap", "not-authenticated", "+" + missing + "%%\n" + missing)


def stores(seeds):
    xml = '<?xml version="1.0"?>'
    seeds.write("s3", "error", xml + "<Error><Code>PermanentRedirect</Code><Message>m</Message><Region>eu</Region></Error>")
    seeds.write("s3", "objects", xml + "<ListBucketResult><IsTruncated>true</IsTruncated><Contents><Key>a</Key><Size>5</Size>"
                "<ETag>e</ETag></Contents><NextContinuationToken>t</NextContinuationToken></ListBucketResult>")
    seeds.write("s3", "parts", xml + "<ListPartsResult><Part><PartNumber>1</PartNumber><Size>5</Size><ETag>e</ETag></Part>"
                "<IsTruncated>true</IsTruncated><NextPartNumberMarker>1</NextPartNumberMarker></ListPartsResult>")
    seeds.write("s3", "parts_of_gofakes3", xml + "<ListMultipartUploadPartsResult><UploadId>u</UploadId><Part><PartNumber>1</PartNumber>"
                "<Size>5</Size><ETag>e</ETag></Part></ListMultipartUploadPartsResult>")
    seeds.write("s3", "copied", xml + "<CopyPartResult><ETag>e</ETag><ChecksumSHA256>s</ChecksumSHA256></CopyPartResult>")
    seeds.write("s3", "uploads", xml + "<ListMultipartUploadsResult><Upload><Key>k</Key><UploadId>u</UploadId></Upload>"
                "<IsTruncated>false</IsTruncated></ListMultipartUploadsResult>")
    seeds.write("s3", "begun", "<InitiateMultipartUploadResult><UploadId>u</UploadId></InitiateMultipartUploadResult>")
    seeds.write("s3", "completed", "<CompleteMultipartUploadResult><ETag>e</ETag></CompleteMultipartUploadResult>")
    seeds.write("s3", "profiles", "[default]\naws_access_key_id = A\naws_secret_access_key=S\n[profile work]\nregion = eu\n# c\n")
    seeds.write("s3", "range", "bytes 0-99/1234")
    seeds.write("s3", "date", "Fri, 27 Nov 2026 18:00:00 GMT")
    blobs = ("<EnumerationResults><Blobs><Blob><Name>disk</Name><Properties><Content-Length>7</Content-Length>"
             "<Last-Modified>x</Last-Modified></Properties></Blob></Blobs><NextMarker>{}</NextMarker></EnumerationResults>\n")
    block = "<BlockList><UncommittedBlocks><Block><Name>{}</Name><Size>7</Size></Block></UncommittedBlocks></BlockList>\n"
    name = "MDAwMDAwMDAtMDAxMTIyMzM0NDU1NjY3Nzg4OTlhYWJiY2NkZGVlZmY="
    head = "200\nETag: e\nContent-MD5: AAAAAAAAAAAAAAAAAAAAAA==\nx-ms-meta-hyperhost_parts: ab-1\n\n"
    content = "206\nContent-Range: bytes 0-15/16\n\n0123456789abcdef"
    seeds.write("azure", "pages", "%%\n".join(["200\n\n" + blobs.format("m"), "200\n\n" + blobs.format(""),
                                             "200\n\n" + block.format(name), head, content, "201\nETag: e\n\n"]))
    seeds.write("azure", "errors", "%%\n".join(["404\n\n<Error><Code>ContainerNotFound</Code></Error>\n",
                                              "403\nx-ms-error-code: AuthenticationFailed\n\n", "404\n\n", "409\n\n"]))
    item = json.dumps({"name": "disk", "size": "7", "updated": "x", "generation": "1", "crc32c": "AAAAAA=="})
    page = '200\n\n{{"items": [{}], "nextPageToken": "{}"}}\n'
    part = item.replace('"disk"', '"disk.part/00000001"')
    seeds.write("gcs", "pages", "%%\n".join([page.format(item, "t"), page.format(item, ""), page.format(part, ""),
                                           "200\n\n" + item + "\n", content, "200\nLocation: http://x/session\n\n",
                                           "308\nRange: bytes=0-3\n\n", "200\n\n" + item + "\n"]))
    # A key that is not below the prefix that was asked for.
    seeds.write("gcs", "foreign-key", "%%\n".join([page.format(item, ""), page.format(item, "")]))
    seeds.write("gcs", "errors", "%%\n".join(['400\n\n{"error": {"message": "CRC32C"}}\n', "401\n\n{}\n", "404\n\n", "412\n\n"]))


def texts(seeds):
    for path in sorted((ROOT / "configs/plans").glob("*.yaml")):
        seeds.write("plan", path.stem, path.read_bytes())
    seeds.write("plan", "overrides", (ROOT / "configs/plans/minimal.yaml").read_text().rstrip("\n") +
                "\n--set\nbatch.max_parallel=3\n--set\nmigrations[0].tags={a: b}\n--set\nproviders.\"x.y\".path=/a\n")
    seeds.write("plan", "anchors", "a: &a [1, 2]\nb: *a\nc: &c {d: e}\nf: {<<: *c, g: 0x1F}\nh: |\n  text\ni: !!str 1\n")
    for path in sorted((ROOT / "plugins").glob("*/*/manifest.json")):
        schema = json.loads(path.read_text()).get("options_schema") or {}
        seeds.write("schema", path.parent.name, json.dumps(schema) + "\n%%\n{}\n")
    seeds.write("schema", "keywords", json.dumps({
        "type": "object", "properties": {"a": {"type": "string", "pattern": "^a+(b|c)*$", "format": "ipv4"},
                                         "b": {"type": "array", "prefixItems": [{"const": 1}], "contains": {"enum": [1, 2]}},
                                         "c": {"$ref": "#/$defs/c"}, "d": {"x-hyper-size": True, "minimum": 4},
                                         "e": {"x-hyper-duration": True}},
        "$defs": {"c": {"oneOf": [{"type": "null"}, {"not": {"type": "string"}}]}},
        "dependentRequired": {"a": ["b"]}, "additionalProperties": False}) + "\n%%\na: aab\nb: [1, 2]\nc: 3\nd: 4KiB\ne: 5s\n")
    vm = {"name": "web", "ref": "vm-1", "disks": [{"id": "disk-0", "capacity_bytes": 512, "bytes": 1, "controller": "scsi0:0"}],
          "nics": [{"mac": "00:50:56:00:00:01"}], "warnings": ["w"], "must_understand": ["/disks/0/x"]}
    seeds.write("document", "vm", json.dumps(vm) + "\n%%\n/disks/0/id\n%%\n/disks/0/bytes\n")
    seeds.write("document", "diagnostic", json.dumps({"severity": "error", "summary": "s", "path": "/a", "retryable": True}))
    seeds.write("document", "result", json.dumps({"digest": {"algorithm": "hyper-tree-sha256", "value": "00"}, "bytes": 1e300}))
    seeds.write("document", "deep", "[" * 127 + "]" * 127)
    line = {"event_type": "x", "seq": 2, "prev_hash": "0" * 64, "details": {"follows_torn_line": "true"}}
    seeds.write("audit", "line", json.dumps(line))
    seeds.write("audit", "head", json.dumps({"seq": 2, "hash": "0" * 64, "first_seq": 1}))


def binaries(seeds):
    names = b"\0.shstrtab\0.hyper_manifest\0"
    manifest = b'{"id": "acme"}\0'
    table = 64 + len(names) + len(manifest)
    header = b"\x7fELF\x02\x01\x01" + bytes(9) + struct.pack("<HHIQQQIHHHHHH", 3, 62, 1, 0, 0, table, 0, 64, 56, 0, 64, 3, 1)
    sections = bytes(64)
    for name, kind, at, size in ((1, 3, 64, len(names)), (11, 1, 64 + len(names), len(manifest))):
        sections += struct.pack("<IIQQQQIIQQ", name, kind, 0, 0, at, size, 0, 0, 1, 0)
    seeds.write("elf", "plugin", header + names + manifest + sections)

    def frame(verb, target, emit=0, payload=b"", a=0, b=0, memory=0):
        return bytes([verb, target, emit, len(payload)]) + payload + struct.pack("<II", a, b) + bytes([0, memory, 0])
    text = struct.pack("<Q", 4) + b"name"
    seeds.write("lane", "source", frame(64, 1, b=100) + frame(65, 1) + frame(66, 1, b=4096) + frame(68, 1, payload=text)
                + frame(64, 5, b=10) + frame(70, 5) + frame(69, 1, emit=3))
    seeds.write("lane", "sink", frame(71, 2, payload=b"bytes") + frame(72, 2, a=9, b=9) + frame(73, 2) + frame(74, 2, a=100)
                + frame(76, 2, emit=3, a=1) + frame(75, 2, emit=3) + frame(77, 2))
    seeds.write("lane", "block", frame(78, 4, b=100) + frame(79, 4, payload=b"bytes") + frame(80, 4, payload=bytes(16))
                + frame(81, 4) + frame(82, 4, b=4096) + frame(83, 4, emit=3, payload=b"\x01\0\0\0") + frame(84, 4) + frame(78, 4, a=65536, b=1))
    seeds.write("lane", "host", frame(128, 3, payload=b"{}") + frame(129, 0, payload=text + bytes(8) + text) + frame(64, 1, memory=1))

    def option(number, data=b""):
        return b"IHAVEOPT" + struct.pack(">II", number, len(data)) + data

    def request(command, offset=0, length=0, flags=0, data=b""):
        return struct.pack(">IHHQQI", 0x25609513, flags, command, 7, offset, length) + data
    name = struct.pack(">I", 0)
    hello, go = struct.pack(">I", 3), option(7, name + struct.pack(">HH", 1, 3))
    context = name + struct.pack(">II", 1, 15) + b"base:allocation"
    seeds.write("nbd", "modern", hello + option(3) + option(8) + option(9, name + bytes(4)) + option(10, context) + option(6, name + bytes(2))
                + go + request(0, 100, 5000) + request(1, 700, 4, 1, b"data") + request(6, 4096, 9000, 3) + request(7, 0, 65536)
                + request(7, 512, 4096, 8) + request(3) + request(0, 0, 600, 4) + request(2))
    seeds.write("nbd", "simple", hello + go + request(0, 0, 512) + request(1, 262100, 100, 0, bytes(100)) + request(4, 0, 512)
                + request(0, 1 << 40, 1) + request(7, 0, 512) + request(2))
    seeds.write("nbd", "old", struct.pack(">I", 1) + option(1, b"frozen") + request(1, 0, 3, 0, b"abc") + request(6, 0, 3) + request(0, 0, 9))
    seeds.write("nbd", "leaves", hello + option(99, b"what") + option(5) + option(2))


def consoles(seeds):
    seeds.write("console", "boots", "0SeaBIOS (version 1.16.2)\r\nBooting from Hard Disk...\r\n\x1b[2J\x1b[1;1HGNU GRUB  version 2.06\r\n"
                "[    0.000000] Linux version 6.1.0\r\n\x1b]0;title\x07[  OK  ] Reached target \x1b[0;1;39mmulti-user.target\x1b[0m\r\nweb login: ")
    seeds.write("console", "fails", "\tALERT! /dev/sda1 does not exist.\n(initramfs) \nKernel panic - not syncing: VFS\ngrub rescue> \nShell> \n"
                "No bootable device.\nYou are in emergency mode.\nBdsDxe: No bootable option or device was found.\n")
    seeds.write("console", "registers", "RIP=ffffffff81000000 RFL=00000246 [---Z-P-] CPL=0 II=0 A20=1 SMM=0 HLT=1\nCR0=80050033 CR2=0 CR3=1 CR4=6f0\n")
    seeds.write("console", "ready", "aready\b\b\x1b[" + "1;" * 200 + "m" + "x" * 700)


def journal(compact, entries):
    """A file of systemd's journal without the tables that only a search needs: entries [(boot, [field])]."""
    out = bytearray(b"LPKSHHRH" + struct.pack("<II", 0, 16 if compact else 0)).ljust(208, b"\0")
    out[88:96] = struct.pack("<Q", 208)

    def add(kind, body):
        at = len(out)
        out.extend(struct.pack("<B7xQ", kind, 16 + len(body)) + body)
        out.extend(bytes(-len(out) % 8))
        out[136:144] = struct.pack("<Q", at)
        return at
    for number, (boot, fields) in enumerate(entries, 1):
        places = [add(1, bytes(56 if compact else 48) + field) for field in fields]
        items = b"".join(struct.pack("<I" if compact else "<Q8x", at) for at in places)
        add(3, struct.pack("<QQQ", number, number, number) + boot * 16 + bytes(8) + items)
        out[56:72] = boot * 16
    return bytes(out)


def boot_records(seeds):
    entries = [(b"\x11", [b"MESSAGE=Linux version 6.1"]),
               (b"\x22", [b"UNIT=ssh.service", b"MESSAGE_ID=be02cf6855d2428ba40df7e9d022f03d"]),
               (b"\x22", [b"SYSLOG_IDENTIFIER=systemd-fsck", b"MESSAGE=root: recovering journal"])]
    for compact in (False, True):
        seeds.write("boot_records", "compact" if compact else "journal", journal(compact, entries))
    record = struct.pack("<hxxi32s4s32s256s", 2, 0, b"~", b"~~", b"reboot", b"6.1.0-18-amd64")
    seeds.write("boot_records", "wtmp", (record.ljust(340, b"\0") + struct.pack("<II", 1795867200, 5)).ljust(384, b"\0") * 2)


def guest_files(seeds):
    device, path = "/dev/sda1", "/dev/disk/by-path/pci-0000:03:00.0-scsi-0:0:0:0-part1"
    files = {
        "fstab": f"{device} / ext4 errors=remount-ro 0 1\n{path} /srv\\040a ext4 subvol=@,nofail 0 2\nUUID=1 none swap sw 0 0\n# c\n",
        "crypttab": f"root {device} none luks\ndata {path} /key luks,discard\n",
        "grub_cfg": f"menuentry 'Debian' {{\n\tlinux /vmlinuz root={device} ro quiet\n\tinitrd /initrd.img\n}}\n",
        "grub_defaults": f'GRUB_DISABLE_LINUX_UUID=true\nGRUB_CMDLINE_LINUX="resume=/dev/sdb1 root={path}"\n',
        "grubenv": f"# GRUB Environment Block\nkernelopts=root={device} ro\n".ljust(1024, "#"),
        "loader_entry": f"title Debian\noptions root={device} ro\nlinux /linux\ninitrd /initrd\n",
        "interfaces": "auto ens192\niface ens192 inet static\n  address 192.0.2.10/24\niface br0 inet manual\n  bridge_ports ens224\n",
        "netplan": "network:\n  version: 2\n  ethernets:\n    a:\n      match:\n        macaddress: 00:50:56:ab:10:01\n      set-name: ens160\n    ens192: {}\n",
        "nmconnection": "[connection]\ntype=ethernet\ninterface-name=ens192\n[ethernet]\nmac-address=00:50:56:AB:10:01\n",
        "networkd": "[Match]\nName=ens192 en*\n[Network]\nDHCP=yes\n",
        "ifcfg": 'DEVICE="eth0"\nHWADDR=00:50:56:ab:10:02\nTYPE=Ethernet\n',
    }
    for name, text in files.items():
        seeds.write("guest_text", name, text)


def made(seeds, size, *commands, files=()):
    """A file of this size that the commands have worked on, and the files that they want beside it."""
    path = pathlib.Path(seeds.work.name)
    for name, data in files:
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(data)
    (path / "made").write_bytes(bytes(size))
    for command, text in commands:
        subprocess.run(command, check=True, cwd=path, input=text, text=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                       env={**os.environ, "PATH": os.environ["PATH"] + ":/usr/sbin:/sbin"})
    return (path / "made").read_bytes()


def ntfs(seeds):
    """With a directory that has blocks of its own, and without what is large in every NTFS and not read."""
    # ntfsfix marks the volume as dirty, and then fails, since it mounts no hibernated Windows.
    files = [("saved", b"hibr" + bytes(8188))]
    names = [f"a-file-of-a-long-name-{number}.sys" for number in range(12)] + ["hiberfil.sys"]
    image = made(seeds, 2 * MIB, (["mkntfs", "-q", "-F", "made"], None), *((["ntfscp", "made", "saved", name], None) for name in names),
                 (["sh", "-c", "ntfsfix made || true"], None), files=files)
    capitals = b"".join(struct.pack("<H", code) for code in range(97))
    at = image.index(capitals)
    image = image[:at] + bytes(128 * KIB) + image[at + 128 * KIB:]
    for record in (1, 2, 4, *range(6, 64)):  # the table begins at 16 KiB
        at = 16 * KIB + record * KIB
        image = image[:at] + bytes(KIB) + image[at + KIB:]
    return image.replace(b"\xff" * SECTOR, bytes(SECTOR))


def structures(seeds):
    program = bytearray(512)
    program[0:2], program[0x3c], program[0x80:0x86] = b"MZ", 0x80, b"PE\0\0\x64\x86"
    loaders = [("EFI/BOOT/BOOTX64.EFI", bytes(program)), ("EFI/debian/grubx64.efi", bytes(program))]
    volumes = {"ext4": made(seeds, 2 * MIB, (["mke2fs", "-q", "-F", "-t", "ext4", "made"], None)),
               "swap": made(seeds, 256 * KIB, (["mkswap", "made"], None)), "ntfs": ntfs(seeds)}
    for fat, size in ((12, 2 * MIB), (16, 12 * MIB), (32, 40 * MIB)):
        volumes[f"fat{fat}"] = made(seeds, size, (["mkfs.vfat", "-F", str(fat), "-s", "1", "made"], None),
                                    (["mcopy", "-s", "-i", "made", "EFI", "::/"], None), files=loaders)
    document = json.dumps({"keyslots": {"0": {}, "1": {}}, "tokens": {
        "0": {"type": "systemd-tpm2", "keyslots": ["0"]},
        "1": {"type": "clevis", "keyslots": ["1"], "jwe": {"protected": "eyJhbGciOiJkaXIiLCJjbGV2aXMiOnsicGluIjoidHBtMiJ9fQ"}}}}).encode()
    volumes["luks2"] = guest(256 * KIB, [(0, b"LUKS\xba\xbe\0\2" + struct.pack(">Q", 16384)), (4096, document)])
    key = struct.pack("<HHHH", 64, 2, 8, 1) + bytes(26) + struct.pack("<H", 0x100) + bytes(28)
    volumes["bitlocker"] = guest(256 * KIB, [(3, b"-FVE-FS-"), (176, struct.pack("<Q", 65536)), (65536, b"-FVE-FS-"),
                                             (65536 + 64, struct.pack("<I", 48 + 64)), (65536 + 112, key)])
    volumes["xfs"] = guest(256 * KIB, [(0, b"XFSB"), (100, b"\xb4\xa4")])
    volumes["btrfs"] = guest(256 * KIB, [(65536 + 64, b"_BHRfS_M")])
    for name, image in volumes.items():
        seeds.write("structures", name, packed(image))
    for name, script in (("mbr", "label: dos\nstart=64, size=512, type=83, bootable\nstart=1024, size=3072, type=5\n"
                                 "start=1088, size=512, type=82\nstart=2048, size=512, type=42\n"),
                         ("gpt", "label: gpt\nfirst-lba: 34\nstart=64, size=512, type=U\nstart=1024, size=512, type=L\n")):
        disk = bytearray(made(seeds, 2 * MIB, (["sfdisk", "-q", "made"], script)))
        disk[64 * SECTOR:64 * SECTOR + 128 * KIB] = volumes["btrfs"][:128 * KIB]
        disk[0:2], disk[0x5c:0x64], disk[0x180:0x185], disk[40 * SECTOR] = b"\xeb\x63", struct.pack("<Q", 40), b"GRUB ", 1
        seeds.write("structures", name, packed(bytes(disk), checksums=name == "gpt"))


def main():
    seeds = Seeds(sys.argv[1] if len(sys.argv) > 1 else ROOT / "tests/fuzz/corpus")
    for part in (images, descriptors, packages, soap, stores, texts, binaries, consoles, boot_records, guest_files, structures):
        part(seeds)


if __name__ == "__main__":
    main()
