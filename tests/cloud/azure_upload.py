#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Plans that end in a container of Azurite, Microsoft's own emulator of Blob Storage."""

import json

import cloud_case
from cloud_case import MIB, cli, peers, requirement


class AzureUpload(cloud_case.CloudTest, cloud_case.EveryStore):
    scheme, plugin = "azure", "azure-blob"

    @classmethod
    def start_server(cls, work):
        return peers.AzureServer(work)

    def assert_nothing_unfinished(self):
        """Blobs that are only uncommitted blocks are listed on demand."""
        listed = self.server.ask("GET", self.place, {"restype": "container", "comp": "list",
                                                     "include": "uncommittedblobs"})
        self.assertNotIn(".hyperhost-part</Name>", listed)
        self.assertEqual(listed.count(f"<Name>{self.prefix}/"), len(self.names()))

    def test_a_wrong_key_is_found_before_anything_is_touched_and_not_shown(self):
        raw = self.disk(capacity=2 * MIB, data=MIB)
        wrong = "d3JvbmcgYWNjb3VudCBrZXk="
        done = self.host("run", self.plan(raw, vm="disk", upload=self.upload()),
                         env={"TEST_AZURE_KEY": wrong}, status=cli.PREFLIGHT)
        self.assert_one_clear_error(done, "AuthorizationFailure")
        self.assertNotIn(wrong, done.err + done.out)
        self.assert_nothing_left()

    def test_connection_string_and_shared_access_signature(self):
        raw = self.disk(capacity=16 * MIB, data=8 * MIB)
        string = (f"DefaultEndpointsProtocol=http;AccountName={peers.AZURE_ACCOUNT};AccountKey={peers.AZURE_KEY};"
                  f"BlobEndpoint={self.server.url}/{peers.AZURE_ACCOUNT}")
        ways = {"connection string": ({"connection_string": {"env": "TEST_CONNECTION"}}, {"TEST_CONNECTION": string}),
                "signature": ({"account": peers.AZURE_ACCOUNT, "endpoint": self.server.endpoint, "sas": {"env": "TEST_SAS"}},
                              {"TEST_SAS": self.server.account_sas()})}
        for name, (storage, env) in ways.items():
            with self.subTest(name):
                upload = self.upload(overwrite=True)
                upload["storage"] = {"plugin": "azure-blob", "part_size": "1MiB", **storage}
                self.report(self.plan(raw, vm="disk", upload=upload, defaults={"overwrite": True}), env=env)
                self.assert_same_disk(self.fetch("disk/disk-disk-0.qcow2"), raw)

    def test_page_blobs_hold_a_disk_to_boot_from(self):
        self.small_output()
        raw = self.disk(capacity=64 * MIB, data=16 * MIB)
        plan = self.plan(raw, vm="disk", converter={"plugin": "parallel-disk"}, defaults={"target_format": "raw"},
                         upload=self.upload(storage={"blob_type": "page"}, keep_local=False))
        self.report(plan)
        self.assertEqual(self.read("disk/disk-disk-0.raw"), raw.read_bytes())
        listed = self.server.ask("GET", self.place, {"restype": "container", "comp": "list"})
        entry = listed[listed.index(f"<Name>{self.prefix}/disk/disk-disk-0.raw</Name>"):].split("</Blob>")[0]
        self.assertIn("<BlobType>PageBlob</BlobType>", entry)
        self.assertEqual(json.loads(self.read("disk/manifest.json"))["manifest_version"], "1.0")
        self.assert_nothing_unfinished()

    def test_managed_identity_asks_the_machine_for_a_token(self):
        raw = self.disk(capacity=2 * MIB, data=MIB)
        upload = self.upload()
        for name in ("key",):
            upload["storage"].pop(name)
        plan = self.plan(raw, vm="disk", upload=upload)
        with peers.Metadata() as metadata:
            done = self.host("run", plan, env={"AZURE_POD_IDENTITY_AUTHORITY_HOST": metadata.url}, status=cli.PREFLIGHT)
            # This Azurite speaks plain HTTP, where it takes no tokens: that it was given one is seen.
            self.assertIn("/metadata/identity/oauth2/token", metadata.asked)
            self.assertNotIn("managed identity gives no token", done.err)
            self.assertNotIn("azure-token", done.err + done.out)


if __name__ == "__main__":
    requirement.main()
