#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Plans that end in a bucket of fake-gcs-server, through the JSON API; with an HMAC key the XML API
is spoken, which is S3's protocol, and an S3 server is the peer."""

import json
import subprocess

import cloud_case
from cloud_case import MIB, cli, peers, requirement


class GcsUpload(cloud_case.CloudTest, cloud_case.EveryStore):
    scheme, plugin = "gs", "gcs"

    @classmethod
    def start_server(cls, work):
        return peers.GcsServer(work)

    def assert_nothing_unfinished(self):
        listed = self.server.ask(f"/storage/v1/b/{self.place}/o")
        self.assertNotIn("hyperhost-part", listed)

    def test_more_parts_than_one_composition_takes(self):
        raw = self.disk(capacity=48 * MIB, data=40 * MIB)
        self.report(self.plan(raw, vm="disk", defaults={"target_format": "raw"},
                              upload=self.upload(storage={"part_size": "1MiB"})))
        self.assertEqual(self.read("disk/disk-disk-0.raw"), raw.read_bytes())
        self.assert_nothing_unfinished()

    def test_a_service_account_signs_for_its_token(self):
        raw = self.disk(capacity=2 * MIB, data=MIB)
        key = self.work / "key.pem"
        subprocess.run(["openssl", "genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out", key],
                       check=True, stderr=subprocess.DEVNULL)
        public = self.work / "public.pem"
        subprocess.run(["openssl", "pkey", "-in", key, "-pubout", "-out", public], check=True)
        with peers.Metadata(jwt_key=public) as tokens:
            account = {"type": "service_account", "client_email": "mover@project.example", "private_key_id": "k1",
                       "private_key": key.read_text(), "token_uri": tokens.url + "/token"}
            (self.work / "account.json").write_text(json.dumps(account))
            storage = self.server.storage(credentials={"file": "account.json"})
            storage.pop("anonymous")
            plan = self.plan(raw, vm="disk", upload={**self.upload(), "storage": storage})
            result = self.report(plan)
            self.assertEqual(result["outcome"], "succeeded")
            self.assertEqual(tokens.claims["iss"], "mover@project.example")
            self.assertIn("devstorage", tokens.claims["scope"])
            tokens.refuse = True
            done = self.host("run", plan, "--set", "output_dir=other", status=cli.PREFLIGHT)
            self.assert_one_clear_error(done, "gives no token")


class GcsHmac(cloud_case.CloudTest):
    scheme, plugin = "gs", "gcs"

    @classmethod
    def start_server(cls, work):
        return peers.S3Server(work, region="auto")

    def test_an_hmac_key_speaks_the_xml_api(self):
        raw = self.disk()
        storage = {"plugin": "gcs", "endpoint": self.server.url, "part_size": "5MiB",
                   "hmac_access_id": peers.ACCESS, "hmac_secret": {"env": "TEST_S3_SECRET"}}
        self.report(self.plan(raw, vm="disk", upload={**self.upload(keep_local=False), "storage": storage}))
        self.assert_same_disk(self.fetch("disk/disk-disk-0.qcow2"), raw)
        self.assertEqual(self.server.unfinished(), {})


if __name__ == "__main__":
    requirement.main()
