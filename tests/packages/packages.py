#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The Debian packages: built, unpacked, run from where they are, installed and purged by dpkg; man pages and completions."""
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import dead_links  # noqa: E402
import product  # noqa: E402
import requirement  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = product.shipped()
ENV = {**os.environ, "HYPERHOST_CONFIG": "", "LC_ALL": "C.UTF-8"}


def run(*command, status=0, cwd=None, env=None, text=None):
    done = subprocess.run([str(part) for part in command], cwd=cwd, env={**ENV, **(env or {})}, capture_output=True, text=True, input=text)
    if done.returncode != status:
        raise AssertionError(f"{' '.join(map(str, command))}: {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


class Packages(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        for tool, package in (("cpack", "cmake"), ("dpkg-deb", "dpkg"), ("dpkg-shlibdeps", "dpkg-dev")):
            requirement.tool(tool, package=package)
        place = tempfile.TemporaryDirectory()
        cls.addClassCleanup(place.cleanup)
        cls.place = pathlib.Path(place.name).resolve()
        run("cpack", "--config", BUILD / "CPackConfig.cmake", "-B", cls.place / "made", cwd=BUILD)
        cls.debs = {path.name.split("_")[0]: path for path in (cls.place / "made").glob("*.deb")}
        cls.root = cls.place / "root"
        for deb in cls.debs.values():
            run("dpkg-deb", "-x", deb, cls.root)
        cls.host = cls.root / "usr/bin/hyperhost"

    def field(self, package, name):
        return run("dpkg-deb", "-f", self.debs[package], name).strip()

    def test_the_packages_and_what_they_need(self):
        expected = {"hyperhost", "hyperhost-plugins", "hyperhost-sdk", "libhyperhost", "libhyperhost-dev"}
        if (BUILD / "lib/hyperhost/plugins/guestfs.so").exists():  # built where libguestfs-dev is installed
            expected.add("hyperhost-guestfs")
            for needed in ("libguestfs0", "linux-image-cloud-amd64"):
                self.assertIn(needed, self.field("hyperhost-guestfs", "Depends"))
        if (BUILD / "lib/hyperhost/plugins/libvirt.so").exists():  # built where libvirt-dev is installed
            expected.add("hyperhost-libvirt")
            self.assertIn("libvirt0", self.field("hyperhost-libvirt", "Depends"))
        self.assertEqual(set(self.debs), expected)
        # The other plugins need none of their libraries.
        for library in ("libguestfs", "libvirt"):
            self.assertNotIn(library, self.field("hyperhost-plugins", "Depends"))
        self.assertRegex(self.field("hyperhost", "Depends"), r"libc6 .*hyperhost-plugins \(= \d|hyperhost-plugins \(= \d.*libc6")
        self.assertIn("libssl3", self.field("hyperhost-plugins", "Depends"))
        self.assertIn("qemu-utils", self.field("hyperhost-plugins", "Recommends"))
        self.assertEqual(self.field("hyperhost-sdk", "Architecture"), "all")
        self.assertRegex(self.field("libhyperhost", "Depends"), "libcurl4.*libssl3")
        self.assertRegex(self.field("libhyperhost-dev", "Depends"), r"libhyperhost \(= \d.*hyperhost-sdk.*nlohmann-json3-dev")
        for package in set(self.debs) - {"libhyperhost-dev"}:
            self.assertNotRegex(self.field(package, "Depends"), r"-dev\b|libasan.*libasan.*libasan")

    def test_everything_has_its_place(self):
        for path in ("usr/bin/hyperhost", "usr/lib/hyperhost/plugins/local.so", "usr/include/hyper/hyper.h",
                     "usr/share/cmake/hyperhost-sdk/hyperhost-sdk-config.cmake", "usr/share/pkgconfig/hyperhost-sdk.pc",
                     "usr/share/man/man1/hyperhost-run.1.gz", "usr/share/man/man1/hyperhost-plugins-check.1.gz", "usr/bin/hyperexport",
                     "usr/share/man/man1/hyperexport.1.gz",
                     "usr/share/bash-completion/completions/hyperhost", "usr/share/zsh/vendor-completions/_hyperhost",
                     "usr/share/fish/vendor_completions.d/hyperhost.fish", "lib/systemd/system/hyperhost@.service",
                     "etc/hyperhost/hyperhost.yaml", "etc/hyperhost/plans", "etc/logrotate.d/hyperhost",
                     "usr/share/hyperhost/schema/vm.description.json",
                     "usr/lib/libhyperhost.so", "usr/lib/cmake/hyperhost/hyperhost-config.cmake", "usr/lib/pkgconfig/hyperhost.pc",
                     "usr/include/hyperhost/core/run/orchestrator.hpp", "usr/share/doc/libhyperhost-dev/examples/migrate.cpp",
                     "usr/share/doc/hyperhost-sdk/README.md", "usr/share/doc/hyperhost-sdk/digest.md",
                     "usr/share/doc/hyperhost-sdk/examples/rust/Cargo.toml", "usr/share/doc/hyperhost-sdk/schema/vm.description.json",
                     "usr/share/doc/hyperhost-sdk/templates/storage/src/plugin.cpp", "usr/share/doc/hyperhost/copyright",
                     "usr/share/doc/hyperhost/SECURITY.md", "usr/share/doc/hyperhost/configs/prometheus/alerts.yaml",
                     "usr/share/doc/hyperhost/configs/grafana/hyperhost.json", "usr/share/hyperhost/plan.schema.json",
                     "usr/share/doc/hyperhost/core/disk/digest.md",
                     "usr/share/doc/hyperhost-sdk/examples/c-storage/src/object.c"):
            self.assertTrue((self.root / path).exists(), path)
        shipped = {path.name for path in (BUILD / "lib/hyperhost/plugins").glob("*.so")}
        self.assertEqual({path.name for path in (self.root / "usr/lib/hyperhost/plugins").iterdir()}, shipped)
        self.assertEqual([str(path) for path in self.root.rglob("*.a")], [])
        self.assertIn("/etc/hyperhost/hyperhost.yaml", run("dpkg-deb", "-I", self.debs["hyperhost"], "conffiles"))
        # Nothing of the machine it was built on.
        for path in self.root.rglob("*"):
            if path.is_file() and path.suffix in (".cmake", ".pc", ".service", ".yaml"):
                self.assertNotIn(str(ROOT), path.read_text(), path)

    def test_no_file_gives_rights_that_its_user_has_not(self):
        seen = 0
        for package, deb in self.debs.items():
            for line in run("dpkg-deb", "-c", deb).splitlines():
                seen += 1
                mode, owner = line.split()[:2]
                with self.subTest(package=package, line=line):
                    self.assertEqual(owner, "root/root")
                    self.assertNotRegex(mode[1:], "[sStT]")
                    if mode[0] != "l":
                        self.assertNotIn("w", mode[4:])
        self.assertGreater(seen, 100)

    def test_the_bill_of_materials_names_what_is_linked_and_compiled_in(self):
        document = json.loads((self.root / "usr/share/doc/hyperhost/sbom.spdx.json").read_text())
        self.assertEqual((document["spdxVersion"], document["dataLicense"]), ("SPDX-2.3", "CC0-1.0"))
        packages = {one["name"]: one for one in document["packages"]}
        # Linked by a plugin, linked by the core, headers only.
        for name in ("libssl3", "libzstd1", "libsqlite3-0", "nlohmann-json3-dev", "libboost1.81-dev", "libcli11-dev"):
            self.assertIn(name, packages)
            self.assertRegex(packages[name]["versionInfo"], r"^[0-9][0-9A-Za-z.+:~-]+$")
        self.assertEqual(packages["nlohmann-json3-dev"]["licenseDeclared"], "MIT")
        self.assertFalse({"libgtest-dev", "lib32stdc++6"} & set(packages), "of the tests, or of another processor")
        ids = {one["SPDXID"] for one in document["packages"]}
        self.assertEqual(len(ids), len(document["packages"]))
        for relation in document["relationships"]:
            self.assertLessEqual({relation["spdxElementId"], relation["relatedSpdxElement"]}, ids | {"SPDXRef-DOCUMENT"})
        self.assertNotIn(str(ROOT), json.dumps(document))

    def test_lintian_finds_no_error(self):
        requirement.tool("lintian", package="lintian")
        done = subprocess.run(["lintian", "--allow-root", "--fail-on", "error", *self.debs.values()],
                              capture_output=True, text=True, check=False)
        errors = [line for line in done.stdout.splitlines() if line.startswith("E: ")]
        self.assertEqual(errors, [])
        self.assertIn(done.returncode, (0, 2), done.stderr)

    def test_the_documents_links_lead_somewhere(self):
        documents = self.root / "usr/share/doc"
        pages = sorted(documents.rglob("*.md"))
        self.assertLess({"README.md", "CHANGELOG.md", "operations.md", "digest.md"}, {page.name for page in pages})
        self.assertEqual([dead for page in pages for dead in dead_links.of(page)], [])
        # The examples name the schema beside them, for editors.
        examples = sorted((documents / "hyperhost/examples").resolve().glob("*.yaml"))
        self.assertGreater(len(examples), 3)
        for example in examples:
            schema = re.search(r"\$schema=(\S+)", example.read_text())
            self.assertTrue(schema and (example.parent / schema[1]).exists(), example)
        # So does the host's configuration, which lies apart from its schema.
        schema = re.search(r"\$schema=(\S+)", (self.root / "etc/hyperhost/hyperhost.yaml").read_text())
        self.assertTrue((self.root / schema[1].lstrip("/")).exists(), schema[1])
        # Empty directories are what a pattern that matches nothing leaves.
        self.assertEqual([path for path in documents.rglob("*") if path.is_dir() and not any(path.iterdir())], [])

    def test_it_runs_from_where_it_is(self):
        plugins = json.loads(run(self.host, "--output", "json", "plugins", "list"))["plugins"]
        self.assertEqual({one["origin"] for one in plugins if one["used"]}, {"built-in"})
        disk = self.place / "disk.raw"
        disk.write_bytes(bytes(range(256)) * 8192)
        run(self.host, "convert", disk, self.place / "disk.qcow2", "--verify", "target")
        run(self.host, "compare", disk, self.place / "disk.qcow2")
        # The host's configuration as shipped is a right one.
        run(self.host, "plugins", "list", env={"HYPERHOST_CONFIG": str(self.root / "etc/hyperhost/hyperhost.yaml")})

    def test_a_plugin_from_the_packages_alone(self):
        for tool, package in (("cmake", "cmake"), ("ninja", "ninja-build"), ("g++", "g++")):
            requirement.tool(tool, package=package)
        run(self.host, "plugins", "new", "storage", "acme", cwd=self.place)
        project = self.place / "acme"
        path = {"PATH": f"{self.host.parent}:{os.environ['PATH']}"}
        run("cmake", "-S", project, "-B", project / "build", "-G", "Ninja", f"-DCMAKE_PREFIX_PATH={self.root}/usr", env=path)
        run("cmake", "--build", project / "build")
        run(self.host, "plugins", "check", project / "build/acme.so")

    def test_installed_and_purged_nothing_is_left(self):
        requirement.need(os.geteuid() == 0, "dpkg installs as root only")
        system, admin = self.place / "system", self.place / "system/var/lib/dpkg"
        for directory in (admin / "info", admin / "updates", admin / "triggers"):
            directory.mkdir(parents=True)
        (admin / "status").touch()
        dpkg = ["dpkg", f"--root={system}", "--force-depends", "--force-script-chrootless", "--log=/dev/null"]
        before = {path for path in system.rglob("*") if admin not in path.parents}
        run(*dpkg, "-i", *self.debs.values())
        self.assertIn("install ok installed", run("dpkg-query", f"--admindir={admin}", "-W", "-f", "${Status}\n", "hyperhost"))
        (system / "var/log/hyperhost/runs").mkdir(parents=True)
        (system / "var/log/hyperhost/runs/tour.log").write_text("what a service wrote")
        (system / "var/lib/hyperhost").mkdir(parents=True, exist_ok=True)
        (system / "var/lib/hyperhost/state.db").write_text("what a run left")
        run(*dpkg, "--purge", *self.debs)
        left = {path for path in system.rglob("*") if admin not in path.parents} - before
        self.assertEqual({path for path in left if not path.is_dir()}, set())
        self.assertEqual([path for path in left if "hyper" in path.name], [])

    def test_man_pages_say_what_help_says(self):
        requirement.tool("mandoc", package="mandoc")
        pages = sorted((self.root / "usr/share/man").glob("man?/*.gz"))
        self.assertGreater(len(pages), 10)
        for page in pages:
            with self.subTest(page=page.name):
                done = subprocess.run(["mandoc", "-T", "lint", "-W", "error", page], capture_output=True, text=True)
                self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        shown = run("mandoc", "-T", "utf8", self.root / "usr/share/man/man1/hyperhost-convert.1.gz")
        shown = re.sub(r".\x08", "", shown)
        for flag in re.findall(r"^  (?:-\w,)?(--[\w-]+)", run(self.host, "convert", "--help"), re.M):
            self.assertIn(flag, shown)
        listed = run(self.host, "--help").split("Subcommands:\n")[1].split("\n\n")[0]
        commands = re.findall(r"^  (\w+) ", listed, re.M)
        self.assertGreater(len(commands), 8)
        for command in commands:
            self.assertIn(f"hyperhost-{command}.1.gz", {page.name for page in pages})

    CASES = ((["hyperhost", "plu"], {"plugins"}), (["hyperhost", "plugins", ""], {"list", "info", "check", "new"}),
             (["hyperhost", "--output", ""], {"text", "json"}), (["hyperhost", "--output", "json", "plugins", "ch"], {"check"}),
             (["hyperhost", "convert", "--ver"], {"--verify"}), (["hyperhost", "convert", "--verify", ""], {"none", "target", "independent", "source"}))

    def test_bash_completes(self):
        script = self.root / "usr/share/bash-completion/completions/hyperhost"
        for words, expected in self.CASES:
            with self.subTest(words=words):
                said = run("bash", "--norc", "-c", 'source "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _hyperhost; '
                           'printf "%s\\n" "${COMPREPLY[@]}"', "bash", script, *words)
                self.assertLessEqual(expected, set(said.split()))
                self.assertNotIn("serve", said.split())

    def test_zsh_completes(self):
        requirement.tool("zsh", package="zsh")
        run("zsh", "-n", self.root / "usr/share/zsh/vendor-completions/_hyperhost")
        said = run("zsh", "-f", "-c", 'autoload -U compinit; compinit -D -u; source "$1"; COMP_WORDS=(hyperhost plugins ""); '
                   'print -l $_comps[hyperhost]', "zsh", self.root / "usr/share/zsh/vendor-completions/_hyperhost")
        self.assertIn("_hyperhost", said)

    def test_fish_completes(self):
        requirement.tool("fish", package="fish")
        script = self.root / "usr/share/fish/vendor_completions.d/hyperhost.fish"
        home = self.place / "fish"
        home.mkdir()
        for words, expected in self.CASES:
            with self.subTest(words=words):
                said = run("fish", "--no-config", "-c", f"source '{script}'; complete -C '{' '.join(words)}'",
                           env={"HOME": str(home), "PATH": f"{self.host.parent}:{os.environ['PATH']}"})
                self.assertLessEqual(expected, {line.split("\t")[0] for line in said.splitlines()}, said)

    def test_the_service_is_one_systemd_takes(self):
        requirement.tool("systemd-analyze", package="systemd")
        unit = self.place / "hyperhost@tour.service"
        text = (self.root / "lib/systemd/system/hyperhost@.service").read_text()
        unit.write_text(re.sub(r"^Documentation=.*\n", "", text, flags=re.M).replace("/usr/bin/hyperhost", str(self.host)))
        done = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True)
        self.assertEqual(re.findall(r"hyperhost@\S*: ?.*", done.stderr + done.stdout), [])
        done = subprocess.run(["systemd-analyze", "security", "--offline=yes", "--threshold=25", unit], capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, done.stdout[-2000:] + done.stderr)

    def test_logrotate_takes_its_file(self):
        requirement.tool("logrotate", package="logrotate")
        run("logrotate", "--debug", "--state", self.place / "rotated", self.root / "etc/logrotate.d/hyperhost",
            env={"PATH": os.environ["PATH"] + ":/usr/sbin"})


if __name__ == "__main__":
    requirement.main()
