# SPDX-License-Identifier: Apache-2.0
"""A vCenter with one ESXi host that speaks SOAP and NFC over TLS on loopback and makes faults on demand.

    server = FaultVCenter(directory)            # a thread each: the vCenter, and the host with a certificate of its own
    vm = server.model.add_vm("web", [sample()])
    server.faults["nfc_truncate"] = 100_000     # see FAULTS
    ...
    server.stop()

What it keeps (sessions, leases, snapshots, calls) is plain data for the test to look at.
"""

import hashlib
import http.server
import re
import secrets
import socket
import socketserver
import ssl
import subprocess
import sys
import threading
import time
import urllib.parse
import xml.etree.ElementTree as ElementTree
from xml.sax.saxutils import escape

from vcenter_model import Dialect, Lease, Model, sample  # noqa: F401 (sample: for those who import this)

# What a test may switch on, and what the server does then.
FAULTS = {
    "quoted_cookie": "the session cookie's value is in double quotes and must come back so",
    "star_urls": "lease urls have '*' for their host: the vCenter's own address and port",
    "no_export_vm": "ExportVm is not supported",
    "one_lease_a_vm": "a second lease on a VM is an InvalidState, or the fault of this kind",
    "wrong_thumbprint": "the host's thumbprint is another than the vCenter tells",
    "lease_initializing": "looks at a lease's state before it is ready",
    "lease_timeout": "seconds that a lease lives without progress (default 300)",
    "refuse_progress": "HttpNfcLeaseProgress is ManagedObjectNotFound: the lease was taken away",
    "session_loss": "all sessions end after so many bytes of the first disk",
    "expire_before": "the session has expired when this method is called for the first time",
    "expire_after": "the session ends once this method was answered for the first time",
    "session_fault": "without a session, reading properties is a NotAuthenticated fault instead of an answer without any",
    "missing": "property, or reference and property → fault kind: it cannot be read, for as long as this is set",
    "missing_after": "(method, {property: kind}): the same, once that method was called",
    "silent_before": "this method is never answered",
    "hold_answer": "method: what it does is done, but its answer does not come",
    "nfc_truncate": "the stream ends in good order after so many bytes",
    "nfc_drop": "the connection is reset after so many bytes, this many times (bytes, times)",
    "nfc_status": "a list of statuses that come before a download is allowed",
    "nfc_rate": "bytes a second of each stream",
    "nfc_piece": "bytes that each stream sends at a time (default 64 KiB)",
    "nfc_endless": "zeros follow the stream's end, for ever",
    "nfc_pause": "(bytes, seconds): the host sends nothing for so long after so many bytes",
    "nfc_silent": "the host stops sending after so many bytes and keeps the connection",
    "nfc_flip": "one byte in so many arrives changed",
    "wrong_manifest": "the manifest's checksum is of other bytes",
    "no_manifest": "HttpNfcLeaseGetManifest is not supported",
    "faults": "method → list of fault kinds that its next calls end with",
    "task_faults": "method → list of fault kinds that its next tasks end with",
    "task_seconds": "method → how long its tasks take",
    "http_status": "list of statuses that the next SOAP calls are answered with",
    "guest_hangs": "ShutdownGuest does nothing",
    "range_ignored": "/folder answers 200 and the whole file",
    "range_wrong": "/folder answers 206 with another range, this many times",
    "range_status": "a list of statuses that come before ranges are served",
    "range_status_from": "ranges of more than a sector, at or behind this offset, answer range_status (default: all)",
    "range_hold": "ranges behind this offset (of more than a sector) are not answered for as long as it is set",
    "no_times": "the datastore's browser tells no times of files",
    "written_after_looks": "(looks, disk, content): it is written to after so many looks into a folder",
    "folder_loss": "all sessions end before this many further requests for ranges",
    "cbt_lies": "QueryChangedDiskAreas calls nothing allocated",
    "cbt_page": "extents that one QueryChangedDiskAreas returns (default 2000)",
    "denied": "privileges that the user does not have",
    "page": "objects a page of RetrievePropertiesEx, at most",
    "endless_pages": "every page announces another one, which holds the same",
    "tags": "(method, number): so many empty elements are in its answer",
    "fault_text": "the text of faults that are asked for",
}


def make_certificate(directory, name):
    """(certificate file, key file, SHA-256 thumbprint)"""
    cert, key = directory / f"{name}.pem", directory / f"{name}.key"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days",
                    "2", "-subj", f"/CN={name}", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout", str(key),
                    "-out", str(cert)], check=True, stderr=subprocess.DEVNULL, timeout=30)
    digest = hashlib.sha1(ssl.PEM_cert_to_DER_cert(cert.read_text())).hexdigest().upper()
    return cert, key, ":".join(digest[i:i + 2] for i in range(0, 40, 2))


class SoapFault(Exception):
    def __init__(self, kind, message="as asked for", inner=""):
        super().__init__(kind)
        self.kind, self.message, self.inner = kind, message, inner


class Call:
    """One SOAP call, taken apart."""

    def __init__(self, body):
        # ElementTree expands no external entities; requests are bounded by the caller.
        envelope = ElementTree.fromstring(body)
        self.node = next(n for n in envelope if n.tag.endswith("Body"))[0]
        self.method = self.node.tag.rsplit("}", 1)[-1]
        this = self.child("_this")
        self.this = (this.get("type"), this.text)
        self.body = body

    def child(self, name, node=None):
        return next((n for n in (self.node if node is None else node) if n.tag.rsplit("}", 1)[-1] == name), None)

    def children(self, name, node=None):
        return [n for n in (self.node if node is None else node) if n.tag.rsplit("}", 1)[-1] == name]

    def text(self, name, otherwise=""):
        found = self.child(name)
        return otherwise if found is None else found.text or ""


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    @property
    def center(self):
        return self.server.center

    def answer(self, status, body=b"", headers=()):
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self):  # pylint: disable=invalid-name
        body = self.rfile.read(min(int(self.headers.get("Content-Length", 0)), 1 << 20))
        if self.path != "/sdk" or self.server.is_host:
            return self.answer(404)
        silent = self.center.faults.get("silent_before")
        if silent and f"<{silent} ".encode() in body:
            self.center.stopping.wait(120)
            self.close_connection = True
            return None
        status, text, cookie = self.center.soap(body, self.headers)
        held = self.center.faults.get("hold_answer")
        if held and f"<{held} ".encode() in body:
            self.center.stopping.wait(120)
            self.close_connection = True
            return None
        headers = [("Content-Type", "text/xml; charset=utf-8")]
        if cookie:
            headers.append(("Set-Cookie", f"vmware_soap_session={cookie}; Path=/; HttpOnly; Secure"))
        return self.answer(status, text.encode(errors="surrogateescape"), headers)

    def do_GET(self):  # pylint: disable=invalid-name
        url = urllib.parse.urlsplit(self.path)
        try:
            if url.path == "/sdk/vimServiceVersions.xml" and not self.server.is_host:
                return self.answer(200, b'<namespaces version="1.0"><namespace><name>urn:vim25</name><version>8.0.2.0'
                                   b"</version></namespace></namespaces>")
            if url.path.startswith("/nfc/"):
                return self.nfc(url.path.split("/")[2:])
            if url.path.startswith("/folder/") and not self.server.is_host:
                return self.folder(url)
            return self.answer(404)
        except (OSError, ssl.SSLError):
            self.close_connection = True
            return None

    # --- the lease's stream: chunked, without a length

    def nfc(self, parts):
        center, faults = self.center, self.center.faults
        center.nfc_requests.append({"host": self.server.is_host, "cookie": self.headers.get("Cookie"),
                                    "range": self.headers.get("Range")})
        lease = center.model.leases.get(parts[0])
        disk = next((d for d in lease.offered if f"disk-{d.unit}.vmdk" == parts[1]), None) if lease else None
        if disk is None or not lease.alive():
            return self.answer(404)
        statuses = faults.get("nfc_status")
        if statuses:
            return self.answer(statuses.pop(0), b"", [("Retry-After", "0")])
        data = disk.stream
        if "nfc_flip" in faults:
            data = bytes(byte ^ 0x40 if at % faults["nfc_flip"] == 99 else byte for at, byte in enumerate(data))
        end = min(faults.get("nfc_truncate", len(data)), len(data))
        drop = faults.get("nfc_drop", (0, 0))
        self.send_response(200)
        self.send_header("Content-Type", "application/x-vnd.vmware-streamVmdk")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        rate, began, at = faults.get("nfc_rate"), time.monotonic(), 0
        with center.counting_streams():
            while at < end:
                piece = data[at:min(at + faults.get("nfc_piece", 64 << 10), end)]
                if drop[1] > 0 and at + len(piece) > drop[0]:
                    faults["nfc_drop"] = (drop[0], drop[1] - 1)
                    return self.reset()
                pause_at, seconds = faults.get("nfc_pause", (len(data), 0))
                if at + len(piece) > pause_at:
                    del faults["nfc_pause"]
                    center.stopping.wait(seconds)
                if at + len(piece) > faults.get("nfc_silent", len(data)):
                    center.stopping.wait(30)
                    return self.reset()
                if "session_loss" in faults and at + len(piece) > faults["session_loss"]:
                    center.lose_sessions()
                    del faults["session_loss"]
                if not lease.alive():
                    return self.reset()
                self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
                at += len(piece)
                if rate and center.stopping.wait(max(0, began + at / rate - time.monotonic())):
                    return self.reset()
            while faults.get("nfc_endless") and not center.stopping.is_set():
                self.wfile.write(b"10000\r\n%s\r\n" % bytes(0x10000))
            self.wfile.write(b"0\r\n\r\n")
        lease.sent[disk.key] = (hashlib.sha1(data).hexdigest(), len(data))
        return None

    def reset(self):
        """An abrupt end: RST instead of FIN."""
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.connection.shutdown(socket.SHUT_RDWR)

    # --- /folder: ranges of a flat file

    def folder(self, url):
        center, faults = self.center, self.center.faults
        if "folder_loss" in faults:
            faults["folder_loss"] -= 1
            if faults["folder_loss"] == 0:
                center.lose_sessions()
        if not center.session_of(self.headers):
            return self.answer(401)
        query = dict(urllib.parse.parse_qsl(url.query))
        center.folder_requests.append((url.path, self.headers.get("Range"), query))
        if (query.get("dcPath"), query.get("dsName")) != ("DC 1", "store 1"):
            return self.answer(404)
        name = urllib.parse.unquote(url.path[len("/folder/"):])
        found = [(vm, d) for vm in center.model.vms.values() for d in vm.disks
                 if d.flat and name == f"{vm.name}/{vm.name}_{d.key}-flat.vmdk"]
        if not found:
            return self.answer(404)
        vm, disk = found[0]
        if any(lease.vm is vm and lease.alive() for lease in center.model.leases.values()):
            return self.answer(500)  # locked
        match = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        if match is None or faults.get("range_ignored"):
            return self.answer(200, disk.content.read(0, disk.capacity))
        first, last = int(match[1]), int(match[2])
        if (faults.get("range_status") and first >= faults.get("range_status_from", 0)
                and (last - first > 512 or "range_status_from" not in faults)):
            return self.answer(faults["range_status"].pop(0), b"", [("Retry-After", "0")])
        while last - first > 512 and first >= faults.get("range_hold", disk.capacity):
            if center.stopping.wait(0.02):
                return self.reset()
        if faults.get("range_wrong", 0) > 0:
            faults["range_wrong"] -= 1
            return self.answer(206, bytes(10), [("Content-Range", f"bytes 0-9/{disk.capacity}")])
        last = min(last, disk.capacity - 1)
        with center.counting_streams():
            rate = faults.get("nfc_rate")
            if rate:
                center.stopping.wait((last - first + 1) / rate)
            return self.answer(206, disk.content.read(first, last - first + 1),
                               [("Content-Range", f"bytes {first}-{last}/{disk.capacity}")])


class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads, request_queue_size = True, 128

    def __init__(self, center, certificate, is_host):
        self.center, self.is_host, self.connections = center, is_host, 0
        self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.tls.load_cert_chain(certificate[0], certificate[1])
        super().__init__(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def finish_request(self, request, client_address):
        self.connections += 1
        request.settimeout(60)
        with self.tls.wrap_socket(request, server_side=True) as secure:
            super().finish_request(secure, client_address)

    def handle_error(self, request, client_address):
        if not isinstance(sys.exc_info()[1], OSError):  # a client that left is none of ours
            super().handle_error(request, client_address)


class FaultVCenter:
    USER, PASSWORD = "ops@vsphere.local", "Center-Pa55word-<&>\"'"
    TOKEN = ('<saml2:Assertion xmlns:saml2="urn:oasis:names:tc:SAML:2.0:assertion" ID="_1">\n  <saml2:Subject><saml2:NameID>'
             f"{USER}</saml2:NameID></saml2:Subject><Signature>c2lnbmVk</Signature>\n</saml2:Assertion>")

    def __init__(self, directory, dialect=None):
        self.dialect = dialect or Dialect()
        self.model = Model(self.dialect)
        self.faults, self.calls, self.nfc_requests, self.folder_requests = {}, [], [], []
        self.stopping, self.lock = threading.Event(), threading.RLock()
        self.streams = self.most_streams = 0
        self.pages, self.pending = {}, {}
        self.certificate, host = make_certificate(directory, "vcenter.test"), make_certificate(directory, "esx1.test")
        self.host_thumbprint = host[2]
        self.other_thumbprint = ("01" if host[2].startswith("00") else "00") + host[2][2:]
        self.vcenter = Server(self, self.certificate, False)
        self.host = Server(self, host, True)
        self.url = f"https://127.0.0.1:{self.vcenter.server_port}/sdk"
        self.password_file = directory / "vcenter-password"
        self.password_file.touch(0o600)
        self.password_file.write_text(self.PASSWORD)

    def stop(self):
        self.stopping.set()
        for server in (self.vcenter, self.host):
            server.shutdown()
            server.server_close()

    def counting_streams(self):
        center = self

        class Counting:
            def __enter__(self):
                with center.lock:
                    center.streams += 1
                    center.most_streams = max(center.most_streams, center.streams)

            def __exit__(self, *_):
                with center.lock:
                    center.streams -= 1
        return Counting()

    # --- what a test asks

    def called(self, method):
        return [call for call in self.calls if call[0] == method]

    def left(self):
        """What should not be there when a run is over."""
        with self.lock:
            out = [f"session {key}" for key in self.model.sessions]
            out += [f"lease {lease.ref[1]}" for lease in self.model.leases.values() if lease.alive()]
            return out + [f"snapshot {name} of {vm.name}" for vm in self.model.vms.values() for _, name in vm.snapshots]

    def lose_sessions(self):
        with self.lock:
            self.model.sessions.clear()
            for lease in list(self.model.leases.values()):
                self.end_lease(lease, "aborted")

    def end_lease(self, lease, how):
        lease.state = how
        self.model.ended_leases.append((lease.ref[1], how))
        self.model.leases.pop(lease.ref[1], None)

    # --- SOAP

    def session_of(self, headers):
        """The session's key, by its cookie exactly as it was given out."""
        for cookie in re.findall(r"vmware_soap_session=([^;]*)", headers.get("Cookie", "")):
            for key, value in self.model.sessions.items():
                if value == cookie:
                    return key
        return None

    def soap(self, body, headers):
        """(status, envelope, cookie or None)"""
        call, cookie = Call(body), None
        with self.lock:
            statuses = self.faults.get("http_status")
            if statuses:
                return statuses.pop(0), "busy", None
            self.calls.append((call.method, call.this[1]))
            try:
                if not re.fullmatch(r"urn:vim25/\d+(\.\d+)+", headers.get("SOAPAction", "")):
                    raise SoapFault("InvalidRequest", "SOAPAction names no version")
                if self.faults.get("expire_before") == call.method:
                    del self.faults["expire_before"]
                    self.lose_sessions()
                key = self.session_of(headers)
                silently = call.method == "RetrievePropertiesEx" and not self.faults.get("session_fault")
                if key is None and not silently and call.method not in ("RetrieveServiceContent", "Login", "LoginByToken"):
                    raise SoapFault("NotAuthenticated", "The session is not authenticated.")
                kinds = self.faults.get("faults", {}).get(call.method)
                if kinds:
                    kind = kinds.pop(0)
                    raise SoapFault(kind, self.faults.get("fault_text", "as asked for"),
                                    "<privilegeId>VApp.Export</privilegeId>" if kind == "NoPermission" else "")
                answer = getattr(self, "on_" + call.method.removesuffix("_Task"), None)
                if answer is None:
                    raise SoapFault("NotSupported", f"no {call.method} here")
                inner = answer(call, key)
                if call.method in ("Login", "LoginByToken"):
                    cookie = self.model.sessions[inner[0]]
                    inner = inner[1]
                if self.faults.get("tags", ("",))[0] == call.method:
                    inner = (inner or "") + "<a/>" * self.faults["tags"][1]
                text = f'<{call.method}Response xmlns="urn:vim25">{inner or ""}</{call.method}Response>'
                if self.faults.get("expire_after") == call.method:
                    del self.faults["expire_after"]
                    self.lose_sessions()
                if self.faults.get("missing_after", ("",))[0] == call.method:
                    self.faults["missing"] = self.faults.pop("missing_after")[1]
                return 200, self.envelope(text), cookie
            except SoapFault as fault:
                detail = self.dialect.typed(f"{fault.kind}Fault", fault.kind, fault.inner, ' xmlns="urn:vim25"')
                return 500, self.envelope(f"<soapenv:Fault><faultcode>ServerFaultCode</faultcode><faultstring>"
                                          f"{escape(fault.message)}</faultstring><detail>{detail}</detail></soapenv:Fault>"), None

    def envelope(self, body):
        own = self.dialect.own.rstrip(":")
        space = f' xmlns:{own}="urn:vim25"' if own else ""
        return ('<?xml version="1.0" encoding="UTF-8"?><soapenv:Envelope xmlns:soapenv='
                '"http://schemas.xmlsoap.org/soap/envelope/" xmlns:xsd="http://www.w3.org/2001/XMLSchema" '
                f'xmlns:{self.dialect.instance}="http://www.w3.org/2001/XMLSchema-instance"{space}><soapenv:Body>{body}'
                "</soapenv:Body></soapenv:Envelope>")

    def on_RetrieveServiceContent(self, _call, _key):
        refs = {"rootFolder": Model.ROOT, "propertyCollector": ("PropertyCollector", "pc-1"),
                "viewManager": ("ViewManager", "views"), "searchIndex": ("SearchIndex", "search"),
                "sessionManager": ("SessionManager", "sessions"),
                "authorizationManager": ("AuthorizationManager", "authorization")}
        return ("<returnval>" + "".join(f'<{name} type="{r[0]}">{r[1]}</{name}>' for name, r in refs.items())
                + "<about><fullName>Fault vCenter</fullName><apiType>VirtualCenter</apiType><apiVersion>8.0.2.0</apiVersion>"
                f"<instanceUuid>{Model.UUID}</instanceUuid></about></returnval>")

    def on_Login(self, call, _key):
        if (call.text("userName"), call.text("password")) != (self.USER, self.PASSWORD):
            raise SoapFault("InvalidLogin", "Cannot complete login due to an incorrect user name or password.")
        return self.new_session()

    def on_LoginByToken(self, call, _key):
        security = re.search(rb"<wsse:Security [^>]*>.*<wsu:Created>.*</wsu:Timestamp>(.*)</wsse:Security>", call.body, re.DOTALL)
        if security is None or security[1] != self.TOKEN.encode():
            raise SoapFault("InvalidLogin", "The token is not valid.")
        return self.new_session()

    def new_session(self):
        key, token = "52" + secrets.token_hex(14), secrets.token_hex(20)
        self.model.sessions[key] = f'"{token}"' if self.faults.get("quoted_cookie", True) else token
        return key, f"<returnval><key>{key}</key><userName>{self.USER}</userName></returnval>"

    def on_Logout(self, _call, key):
        self.model.sessions.pop(key)
        for lease in [one for one in self.model.leases.values() if one.session == key]:
            self.end_lease(lease, "aborted")

    def on_TerminateSession(self, call, _key):
        wanted = call.text("sessionId")
        if wanted not in self.model.sessions:
            raise SoapFault("NotFound")
        self.on_Logout(call, wanted)

    def on_CurrentTime(self, _call, _key):
        return "<returnval>2026-11-25T00:00:00Z</returnval>"

    def on_FindByInventoryPath(self, call, _key):
        wanted = call.text("inventoryPath").strip("/")
        for vm in self.model.vms.values():
            folder = "DC 1/vm/prod/" if vm.folder == Model.PROD else "DC 1/vm/"
            if folder + vm.name == wanted:
                return f'<returnval type="VirtualMachine">{vm.ref[1]}</returnval>'
        return ""

    def on_FindByUuid(self, call, _key):
        for vm in self.model.vms.values():
            if call.text("uuid") == (vm.instance_uuid if call.text("instanceUuid") == "true" else vm.uuid):
                return f'<returnval type="VirtualMachine">{vm.ref[1]}</returnval>'
        return ""

    def on_FindAllByUuid(self, call, _key):
        return "".join(f'<returnval type="VirtualMachine">{vm.ref[1]}</returnval>' for vm in self.model.vms.values()
                       if call.text("uuid") == (vm.instance_uuid if call.text("instanceUuid") == "true" else vm.uuid))

    def on_CreateContainerView(self, call, _key):
        return f'<returnval type="ContainerView">view-{"-".join(n.text for n in call.children("type"))}</returnval>'

    def on_DestroyView(self, _call, _key):
        return ""

    # --- properties, page by page

    def on_RetrievePropertiesEx(self, call, key):
        spec = call.child("specSet")
        wanted = {}
        for prop_set in call.children("propSet", spec):
            wanted[call.child("type", prop_set).text] = [n.text for n in call.children("pathSet", prop_set)]
        obj = call.child("obj", call.child("objectSet", spec))
        ref = (obj.get("type"), obj.text)
        if ref[0] == "ContainerView":
            refs = [r for r in list(self.model.places) + [vm.ref for vm in self.model.vms.values()]
                    if self.paths_for(r, wanted) is not None]
        else:
            refs = [ref]
        limit = call.child("maxObjects", call.child("options"))
        page = min(int(limit.text) if limit is not None else len(refs) or 1, self.faults.get("page", 1 << 30))
        return self.answer_page(refs, wanted, page, key)

    @staticmethod
    def paths_for(ref, wanted):
        bases = {"ClusterComputeResource": "ComputeResource"}
        return wanted.get(ref[0], wanted.get(bases.get(ref[0], "")))

    def answer_page(self, refs, wanted, page, key):
        out = ""
        for ref in refs[:page]:
            paths = self.paths_for(ref, wanted)
            out += f'<objects><obj type="{ref[0]}">{escape(ref[1])}</obj>{self.properties(ref, paths, key)}</objects>'
        token = ""
        if self.faults.get("endless_pages"):
            refs = refs[:page] + refs
        if len(refs) > page:
            number = str(len(self.pages))
            self.pages[number] = (refs[page:], wanted, page, key)
            token = f"<token>{number}</token>"
        return f"<returnval>{token}{out}</returnval>"

    def properties(self, ref, paths, key):
        """<propSet> of what is set, <missingSet> of what cannot be read: all of it where there is no session."""
        if ref[0] == "SessionManager":  # without a session it has nothing to tell, and says so of nothing
            return f"<propSet><name>sessionList</name>{self.session_list()}</propSet>" if key else ""
        out, missing = "", dict(self.faults.get("missing", {}))
        try:
            values = [(path, self.model.value(ref, path)) for path in paths]
        except KeyError:
            raise SoapFault("ManagedObjectNotFound", f"{ref[1]} has already been deleted") from None
        for path, value in values:
            kind = missing.get(path, missing.get(f"{ref[1]} {path}")) if key else "NotAuthenticated"
            if kind:
                out += f"<missingSet><path>{path}</path>{self.dialect.fault('fault', kind, 'as asked for')}</missingSet>"
            elif value is not None:
                out += f"<propSet><name>{path}</name>{value}</propSet>"
        return out

    def on_ContinueRetrievePropertiesEx(self, call, key):
        page = self.pages.get(call.text("token"))
        if page is None or page[-1] != key:  # a token ends with its session
            raise SoapFault("InvalidArgument")
        return self.answer_page(*self.pages.pop(call.text("token")))

    def on_CancelRetrievePropertiesEx(self, call, _key):
        self.pages.pop(call.text("token"), None)

    def session_list(self):
        return self.dialect.typed("val", "ArrayOfUserSession",
                                  "".join(f"<UserSession><key>{key}</key></UserSession>" for key in self.model.sessions))

    def on_HasPrivilegeOnEntities(self, call, key):
        if call.text("sessionId") != key:
            raise SoapFault("NotFound")
        out = ""
        for entity in call.children("entity"):
            granted = "".join(f"<privAvailability><privId>{one.text}</privId><isGranted>"
                              f"{str(one.text not in self.faults.get('denied', [])).lower()}</isGranted></privAvailability>"
                              for one in call.children("privId"))
            out += f'<returnval><entity type="{entity.get("type")}">{entity.text}</entity>{granted}</returnval>'
        return out

    # --- power and snapshots

    def vm_of(self, call):
        vm = self.model.vms.get(call.this[1])
        if vm is None:
            raise SoapFault("ManagedObjectNotFound")
        return vm

    def task(self, call, work):
        kinds = self.faults.get("task_faults", {}).get(call.method)
        if kinds:
            kind = kinds.pop(0)
            task = self.model.new_task(call.method, call.this, lambda: ("!" + kind, "as asked for"))
        else:
            task = self.model.new_task(call.method, call.this, work)
            seconds = self.faults.get("task_seconds", {}).get(call.method)
            if seconds:
                timer = threading.Timer(seconds, self.finish_task, [task])
                timer.daemon = True
                timer.start()
                return f'<returnval type="Task">{task[1]}</returnval>'
        self.model.finish_task(task)
        return f'<returnval type="Task">{task[1]}</returnval>'

    def finish_task(self, task):
        with self.lock:
            if task in self.model.tasks_at_work():  # a test may have ended it before its time
                self.model.finish_task(task)

    def on_ShutdownGuest(self, call, _key):
        vm = self.vm_of(call)
        if vm.tools != "guestToolsRunning":
            raise SoapFault("ToolsUnavailable")
        if not self.faults.get("guest_hangs"):
            vm.power = "poweredOff"

    def on_SearchDatastore(self, call, _key):
        if call.this != Model.BROWSER:
            raise SoapFault("ManagedObjectNotFound")
        if "Datastore.Browse" in self.faults.get("denied", []):
            raise SoapFault("NoPermission", inner="<privilegeId>Datastore.Browse</privilegeId>")
        spec = call.child("searchSpec")
        told = call.child("details", spec)
        times = call.child("modification", told).text == "true" and not self.faults.get("no_times")
        pattern = call.child("matchPattern", spec).text
        answer = self.task(call, lambda: self.model.folder(call.text("datastorePath"), pattern, times))
        looks, disk, content = self.faults.get("written_after_looks", (0, None, None))
        if looks:
            self.faults["written_after_looks"] = (looks - 1, disk, content)
            if looks == 1:
                disk.write(content)
        return answer

    def set_power(self, call, power):
        vm = self.vm_of(call)

        def work():
            if vm.power == power:
                return "!InvalidPowerState", "it is so already"
            vm.power = power
            return None
        return self.task(call, work)

    def on_PowerOffVM(self, call, _key):
        return self.set_power(call, "poweredOff")

    def on_PowerOnVM(self, call, _key):
        return self.set_power(call, "poweredOn")

    def on_CreateSnapshot(self, call, _key):
        vm = self.vm_of(call)
        if vm.template:
            raise SoapFault("NotSupported")

        def work():
            ref = ("VirtualMachineSnapshot", f"snapshot-{next(self.model.numbers)}")
            vm.snapshots.append((ref, call.text("name")))
            return ref
        return self.task(call, work)

    def on_RemoveSnapshot(self, call, _key):
        vm = self.model.snapshot_vm(call.this[1])
        if vm is None:
            raise SoapFault("ManagedObjectNotFound")

        def work():
            if any(lease.vm is vm and lease.alive() for lease in self.model.leases.values()):
                return "!FileLocked", "a lease has the disks open"
            vm.snapshots = [one for one in vm.snapshots if one[0][1] != call.this[1]]
            return None
        return self.task(call, work)

    # --- leases

    def on_ExportVm(self, call, key):
        vm = self.vm_of(call)
        if self.faults.get("no_export_vm"):
            raise SoapFault("NotSupported")
        if vm.template:
            raise SoapFault("NotSupported")
        if vm.power != "poweredOff":
            raise SoapFault("InvalidPowerState")
        return self.lease(vm, key)

    def on_ExportSnapshot(self, call, key):
        vm = self.model.snapshot_vm(call.this[1])
        if vm is None:
            raise SoapFault("ManagedObjectNotFound")
        return self.lease(vm, key)

    def lease(self, vm, key):
        if self.faults.get("one_lease_a_vm") and any(one.vm is vm and one.alive() for one in self.model.leases.values()):
            raise SoapFault(self.faults["one_lease_a_vm"] if self.faults["one_lease_a_vm"] is not True else "InvalidState")
        ref = ("HttpNfcLease", f"session[{key}]{secrets.token_hex(4)}")
        lease = Lease(ref, vm, key, self.faults.get("lease_timeout", 300))
        lease.initializing = self.faults.get("lease_initializing", 0)
        lease.offered = [d for d in vm.disks if not d.mode.startswith("independent")]
        host = "*" if self.faults.get("star_urls") else f"127.0.0.1:{self.host.server_port}"
        lease.url = lambda disk: f"https://{host}/nfc/{ref[1]}/disk-{disk.unit}.vmdk"
        lease.thumbprint = "" if host == "*" else self.host_thumbprint
        if self.faults.get("wrong_thumbprint"):
            lease.thumbprint = self.other_thumbprint
        self.model.leases[ref[1]] = lease
        return f'<returnval type="HttpNfcLease">{ref[1]}</returnval>'

    def lease_of(self, call, key):
        lease = self.model.leases.get(call.this[1])
        if lease is None or lease.session != key:
            raise SoapFault("ManagedObjectNotFound")
        return lease

    def on_HttpNfcLeaseProgress(self, call, key):
        lease = self.lease_of(call, key)
        if self.faults.get("refuse_progress"):
            self.end_lease(lease, "aborted")
            raise SoapFault("ManagedObjectNotFound")
        if not lease.alive():
            raise SoapFault("Timedout")
        lease.renewed, lease.renewals = time.monotonic(), lease.renewals + 1

    def on_HttpNfcLeaseGetManifest(self, call, key):
        lease = self.lease_of(call, key)
        if self.faults.get("no_manifest"):
            raise SoapFault("NotSupported")
        out = ""
        for disk in lease.offered:
            if disk.key in lease.sent:
                digest, size = lease.sent[disk.key]
                if self.faults.get("wrong_manifest"):
                    digest = digest[::-1]
                out += (f"<returnval><key>/{lease.vm.ref[1]}/ParaVirtualSCSIController0:{disk.unit}</key><sha1>{digest}</sha1>"
                        f"<size>{size}</size><disk>true</disk></returnval>")
        return out

    def on_HttpNfcLeaseComplete(self, call, key):
        self.end_lease(self.lease_of(call, key), "done")

    def on_HttpNfcLeaseAbort(self, call, key):
        self.end_lease(self.lease_of(call, key), "aborted")

    # --- changed blocks: "*" = what is allocated

    def on_QueryChangedDiskAreas(self, call, _key):
        vm = self.vm_of(call)
        disk = next(d for d in vm.disks if str(d.key) == call.text("deviceKey"))
        start, page = int(call.text("startOffset")), self.faults.get("cbt_page", 2000)
        if call.text("changeId") != "*":
            raise SoapFault("InvalidArgument")
        block = 64 << 10
        areas = [(at, min(block, disk.capacity - at)) for at in range(start // block * block, disk.capacity, block)
                 if any(disk.content.read(at, min(block, disk.capacity - at)))]
        if self.faults.get("cbt_lies"):
            areas = []
        shown = areas[:page]
        end = disk.capacity if len(areas) <= page else shown[-1][0] + shown[-1][1]
        return (f"<returnval><startOffset>{start}</startOffset><length>{end - start}</length>"
                + "".join(f"<changedArea><start>{at}</start><length>{n}</length></changedArea>" for at, n in shown)
                + "</returnval>")
