#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Plans that end in a bucket of a real S3 server."""

import cloud_case
from cloud_case import MIB, cli, peers, requirement


class S3Upload(cloud_case.CloudTest, cloud_case.EveryStore):
    scheme, plugin = "s3", "s3"

    @classmethod
    def start_server(cls, work):
        return peers.S3Server(work)

    def assert_nothing_unfinished(self):
        self.assertEqual(self.server.unfinished(), {})

    def test_a_wrong_secret_is_found_before_anything_is_touched_and_not_shown(self):
        raw = self.disk(capacity=2 * MIB, data=MIB)
        done = self.host("run", self.plan(raw, vm="disk", upload=self.upload()),
                         env={"TEST_S3_SECRET": "wrong-secret"}, status=cli.PREFLIGHT)
        self.assert_one_clear_error(done, "SignatureDoesNotMatch")
        self.assertNotIn("wrong-secret", done.err + done.out)
        self.assert_nothing_left()

    def test_credentials_from_where_the_aws_tools_look(self):
        raw = self.disk(capacity=2 * MIB, data=MIB)
        (self.work / ".aws").mkdir()
        (self.work / ".aws/credentials").write_text(
            f"[default]\naws_access_key_id = nobody\naws_secret_access_key = nothing\n\n"
            f"[migration]\naws_access_key_id = {peers.ACCESS}\naws_secret_access_key={peers.SECRET}\n")
        storage = {name: value for name, value in self.server.storage(part_size="5MiB").items() if "access_key" not in name}
        plan = self.plan(raw, vm="disk", upload={**self.upload(overwrite=True), "storage": storage},
                         defaults={"overwrite": True})
        keys = {"AWS_ACCESS_KEY_ID": peers.ACCESS, "AWS_SECRET_ACCESS_KEY": peers.SECRET}
        nowhere = {"AWS_EC2_METADATA_DISABLED": "true"}
        self.report(plan, env={**keys, **nowhere})
        self.report(plan, env={"AWS_PROFILE": "migration", **nowhere})
        self.host("run", plan, env=nowhere, status=cli.PREFLIGHT)  # [default] is nobody
        (self.work / ".aws/credentials").unlink()
        done = self.host("run", plan, env=nowhere, status=cli.PREFLIGHT)
        self.assert_one_clear_error(done, "no credentials for S3 were found")
        with peers.Metadata() as metadata:
            self.report(plan, env={"AWS_EC2_METADATA_SERVICE_ENDPOINT": metadata.url})
            self.assertIn("/latest/meta-data/iam/security-credentials/migrator", metadata.asked)
            self.report(plan, env={"AWS_CONTAINER_CREDENTIALS_FULL_URI": metadata.url + "/container",
                                   "AWS_CONTAINER_AUTHORIZATION_TOKEN": "container-token"})
            self.assertIn("/container", metadata.asked)


if __name__ == "__main__":
    requirement.main()
