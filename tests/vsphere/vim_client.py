# SPDX-License-Identifier: Apache-2.0
"""The tests' own client of the vSphere API: prepares a server and looks at what is left there. Shares no code with the
plugin. Loopback only.

    with VimClient(url, "ops", "secret") as vim:
        vm = vim.vm("DC0_H0_VM0")
        vim.snapshots(vm)
"""

import http.client
import ssl
import time
import urllib.parse
import xml.etree.ElementTree as ElementTree
from xml.sax.saxutils import escape

_XSI = "{http://www.w3.org/2001/XMLSchema-instance}type"


class Fault(Exception):
    pass


def _local(tag):
    return tag.rsplit("}", 1)[-1]


def find(node, path):
    """The first descendant along local names; None if there is none."""
    for name in path.split("/"):
        if node is None:
            return None
        node = next((child for child in node if _local(child.tag) == name), None)
    return node


def text(node, path, otherwise=""):
    found = find(node, path)
    return otherwise if found is None else found.text or ""


def kind(node):
    return node.get(_XSI, "").rsplit(":", 1)[-1]


class VimClient:
    def __init__(self, url, user, password):
        parts = urllib.parse.urlsplit(url)
        assert parts.hostname == "127.0.0.1", "tests speak to loopback only"
        self.port, self.cookie = parts.port, None
        content = self.call("RetrieveServiceContent", ("ServiceInstance", "ServiceInstance"))[0]
        self.refs = {_local(c.tag): (c.get("type"), c.text) for c in content if c.get("type")}
        self.call("Login", self.refs["sessionManager"],
                  f"<userName>{escape(user)}</userName><password>{escape(password)}</password>")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.call("Logout", self.refs["sessionManager"])

    def request(self, method, path, body=None, headers=None):
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        connection = http.client.HTTPSConnection("127.0.0.1", self.port, timeout=60, context=context)
        try:
            sent = dict(headers or {})
            if self.cookie:
                sent["Cookie"] = self.cookie
            connection.request(method, path, body, sent)
            response = connection.getresponse()
            cookie = response.headers.get("Set-Cookie", "")
            if cookie.startswith("vmware_soap_session="):
                self.cookie = cookie.split(";")[0]
            return response.status, response.read()
        finally:
            connection.close()

    def call(self, method, this, arguments=""):
        """The <returnval> elements."""
        body = ('<soapenv:Envelope xmlns:soapenv="http://schemas.xmlsoap.org/soap/envelope/" '
                'xmlns:xsd="http://www.w3.org/2001/XMLSchema" '
                'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"><soapenv:Body>'
                f'<{method} xmlns="urn:vim25"><_this type="{this[0]}">{escape(this[1])}</_this>{arguments}</{method}>'
                "</soapenv:Body></soapenv:Envelope>")
        _, answer = self.request("POST", "/sdk", body.encode(),
                                 {"Content-Type": "text/xml", "SOAPAction": "urn:vim25/8.0.0.0"})
        response = find(ElementTree.fromstring(answer), "Body")[0]
        if _local(response.tag) == "Fault":
            detail = find(response, "detail")
            raise Fault(kind(detail[0]) if detail is not None and len(detail) else text(response, "faultstring"))
        return [child for child in response if _local(child.tag) == "returnval"]

    def properties(self, ref, *paths):
        """{path: its <val>} of the properties that are set."""
        wanted = "".join(f"<pathSet>{path}</pathSet>" for path in paths)
        result = self.call("RetrievePropertiesEx", self.refs["propertyCollector"],
                           f'<specSet><propSet><type>{ref[0]}</type>{wanted}</propSet><objectSet><obj type="{ref[0]}">'
                           f"{escape(ref[1])}</obj></objectSet></specSet><options/>")
        found = find(result[0], "objects")
        return {text(one, "name"): find(one, "val") for one in found if _local(one.tag) == "propSet"}

    def task(self, method, this, arguments=""):
        task = self.call(method, this, arguments)[0]
        while True:
            got = self.properties((task.get("type"), task.text), "info.state", "info.error")
            if got["info.state"].text == "success":
                return
            if got["info.state"].text == "error":
                raise Fault(kind(find(got["info.error"], "fault")))
            time.sleep(0.02)

    def all(self, type_name):
        view = self.call("CreateContainerView", self.refs["viewManager"],
                         f'<container type="Folder">{self.refs["rootFolder"][1]}</container><type>{type_name}</type>'
                         "<recursive>true</recursive>")[0]
        got = self.properties((view.get("type"), view.text), "view")["view"]
        self.call("DestroyView", (view.get("type"), view.text))
        return [(one.get("type"), one.text) for one in got]

    def vm(self, name):
        return next(ref for ref in self.all("VirtualMachine") if self.properties(ref, "name")["name"].text == name)

    def power(self, vm):
        return self.properties(vm, "runtime.powerState")["runtime.powerState"].text

    def snapshots(self, vm):
        tree, names = self.properties(vm, "snapshot").get("snapshot"), []

        def walk(node):
            for child in node:
                if _local(child.tag) in ("rootSnapshotList", "childSnapshotList"):
                    names.append(text(child, "name"))
                    walk(child)
        if tree is not None:
            walk(tree)
        return names

    def sessions(self):
        """How many sessions there are beside this one."""
        got = self.properties(self.refs["sessionManager"], "sessionList", "currentSession")
        own = text(got["currentSession"], "key")
        return sum(1 for one in got["sessionList"] if text(one, "key") != own)

    def disks(self, vm):
        return [device for device in self.properties(vm, "config.hardware.device")["config.hardware.device"]
                if kind(device) == "VirtualDisk"]

    def put_file(self, datastore_path, datacenter, data):
        """"[store] dir/file" gets these bytes."""
        store, path = datastore_path[1:].split("] ", 1)
        query = urllib.parse.urlencode({"dcPath": datacenter, "dsName": store})
        status, _ = self.request("PUT", f"/folder/{urllib.parse.quote(path)}?{query}", data)
        assert status in (200, 201), status

    def add_disk(self, vm, like, capacity):
        store = find(like, "backing/datastore")
        name = text(like, "backing/fileName").rsplit("/", 1)[0] + "/second.vmdk"
        self.task("ReconfigVM_Task", vm, f"""<spec><deviceChange><operation>add</operation>
            <fileOperation>create</fileOperation><device xsi:type="VirtualDisk"><key>-1</key>
            <backing xsi:type="VirtualDiskFlatVer2BackingInfo"><fileName>{escape(name)}</fileName>
            <datastore type="Datastore">{store.text}</datastore><diskMode>persistent</diskMode></backing>
            <controllerKey>{text(like, "controllerKey")}</controllerKey><unitNumber>7</unitNumber>
            <capacityInKB>{capacity // 1024}</capacityInKB></device></deviceChange></spec>""")

    def set_capacity(self, vm, disk, capacity):
        backing = find(disk, "backing")
        self.task("ReconfigVM_Task", vm, f"""<spec><deviceChange><operation>edit</operation>
            <device xsi:type="VirtualDisk"><key>{text(disk, "key")}</key>
            <backing xsi:type="{kind(backing)}"><fileName>{escape(text(backing, "fileName"))}</fileName>
            <diskMode>persistent</diskMode></backing>
            <controllerKey>{text(disk, "controllerKey")}</controllerKey><unitNumber>{text(disk, "unitNumber")}</unitNumber>
            <capacityInKB>{capacity // 1024}</capacityInKB><capacityInBytes>{capacity}</capacityInBytes></device>
            </deviceChange></spec>""")
