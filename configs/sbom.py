#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The software bill of materials of a build, as SPDX 2.3 in JSON:  sbom.py BUILD OUTPUT

What it lists comes from the build itself: the shared libraries that the binaries name (ELF), and the packages whose headers or
static libraries went into them (Ninja's record of what every object included). Debian's own database says which package owns a
file, its version and its licence; elsewhere the libraries are listed by their names."""
import collections
import datetime
import functools
import hashlib
import json
import os
import pathlib
import re
import subprocess
import sys

# Names of licences in Debian's copyright files that SPDX spells otherwise.
SPDX = {"expat": "MIT", "mit": "MIT", "apache-2.0": "Apache-2.0", "bsl-1.0": "BSL-1.0", "bsl": "BSL-1.0", "curl": "curl",
        "bsd-3-clause": "BSD-3-Clause", "bsd-3-clauses": "BSD-3-Clause", "bsd-2-clause": "BSD-2-Clause", "zlib": "Zlib",
        "lgpl-2.1+": "LGPL-2.1-or-later", "lgpl-2+": "LGPL-2.0-or-later", "lgpl-3+": "LGPL-3.0-or-later",
        "gpl-2": "GPL-2.0-only", "gpl-2+": "GPL-2.0-or-later", "gpl-3": "GPL-3.0-only", "gpl-3+": "GPL-3.0-or-later",
        "public-domain": "NOASSERTION"}


def run(*command):
    try:
        done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return done.stdout if done.returncode == 0 else ""


@functools.cache
def owners():
    """{file: package} of all installed packages."""
    found = {}
    for line in pathlib.Path("/var/lib/dpkg/info").glob("*.list"):
        package = line.name[:-5].split(":")[0]
        for file in line.read_text(errors="replace").splitlines():
            found[file] = package
    return found


def owner(path):
    """The package a file belongs to; links and merged directories (/lib is /usr/lib) are tried."""
    real = os.path.realpath(path)
    for name in (path, real, real.removeprefix("/usr"), "/usr" + real):
        if name in owners():
            return owners()[name]
    return None


def binaries(build):
    found = [path for path in (build / "bin").glob("hyper*") if path.name in ("hyperhost", "hyperexport")]
    return found + sorted((build / "lib/hyperhost/plugins").glob("*.so")) + sorted((build / "lib").glob("libhyperhost.so.*.*.*"))


def linked(build):
    """{library's name: the binaries that name it}"""
    found = collections.defaultdict(set)
    for binary in binaries(build):
        for name in re.findall(r"\(NEEDED\)\s+Shared library: \[([^\]]+)\]", run("readelf", "-dW", binary)):
            found[name].add(binary.name)
    return found


@functools.cache
def library_paths():
    found = {}
    for name, kind, path in re.findall(r"^\s*(\S+) \(([^)]*)\) => (\S+)$", run("/sbin/ldconfig", "-p"), re.M):
        # A machine may have libraries of 32 bits beside these: their kind names no processor.
        if name not in found or "," in kind:
            found[name] = path
    return found


def compiled_in(build):
    """Packages of the headers that the product's objects included, and of static libraries that were linked."""
    found, ours = set(), False
    for line in run("ninja", "-C", build, "-t", "deps").splitlines():
        if line and not line[0].isspace():
            ours = not re.match(r"(tests|_deps)/", line)
        elif ours and line.startswith("    /usr/"):
            package = owner(line.strip())
            if package:
                found.add(package)
    ours, products = False, {str(binary.relative_to(build)) for binary in binaries(build)}
    for line in (build / "build.ninja").read_text().splitlines() if (build / "build.ninja").exists() else ():
        if line.startswith("build "):
            ours = not products.isdisjoint(line.split(":")[0].split())
        found |= {package for archive in re.findall(r"(/usr/\S+\.a)\b", line) if ours and (package := owner(archive))}
    # The C library's and the compiler's own headers are in every program, and named by what is linked.
    return {package for package in found if not re.match(r"(libc6-dev|linux-libc-dev|libgcc-|libstdc\+\+-|gcc|g\+\+|libcrypt-dev)", package)}


def licences(package):
    """The licences in a package's copyright file: SPDX's name of what covers most of it, and all as Debian has them."""
    try:
        text = pathlib.Path(f"/usr/share/doc/{package}/copyright").read_text(errors="replace")
    except OSError:
        return "NOASSERTION", []
    stanzas = re.split(r"\n\s*\n", text)
    names = [match[1].strip() for stanza in stanzas if (match := re.search(r"^License: *([^\n]+)$", stanza, re.M))]
    main = next((match[1].strip() for stanza in stanzas if re.search(r"^Files: *\*\s*$", stanza, re.M)
                 and (match := re.search(r"^License: *([^\n]+)$", stanza, re.M))), "")
    return SPDX.get(main.lower(), "NOASSERTION"), sorted(set(names))


def component(package, how, names):
    version = run("dpkg-query", "-W", "-f", "${Version}", package).splitlines()
    declared, all_names = licences(package)
    entry = {"SPDXID": "SPDXRef-" + re.sub(r"[^A-Za-z0-9.-]", "-", package), "name": package,
             "versionInfo": version[0] if version else "unknown", "downloadLocation": "NOASSERTION", "filesAnalyzed": False,
             "licenseConcluded": "NOASSERTION", "licenseDeclared": declared, "copyrightText": "NOASSERTION",
             "supplier": "Organization: Debian", "comment": f"{how}: {', '.join(sorted(names))}" if names else how}
    if all_names:
        entry["licenseComments"] = "in Debian's copyright file: " + ", ".join(all_names)
    if version:
        entry["externalRefs"] = [{"referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl",
                                  "referenceLocator": f"pkg:deb/debian/{package}@{version[0]}"}]
    return entry


def main():
    build, output = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
    cache = (build / "CMakeCache.txt").read_text()
    version = re.search(r"^CMAKE_PROJECT_VERSION:\w+=(.*)$", cache, re.M)[1]
    root = {"SPDXID": "SPDXRef-hyperhost", "name": "hyperhost", "versionInfo": version, "downloadLocation": "NOASSERTION",
            "filesAnalyzed": False, "licenseConcluded": "Apache-2.0", "licenseDeclared": "Apache-2.0", "copyrightText": "NOASSERTION"}
    packages, relations = [root], [("SPDXRef-DOCUMENT", "DESCRIBES", root["SPDXID"])]
    dynamic = collections.defaultdict(set)
    for library, users in linked(build).items():
        dynamic[owner(library_paths().get(library, library)) or library] |= users
    for package, users in sorted(dynamic.items()):
        packages.append(component(package, "linked by", users))
        relations.append((root["SPDXID"], "DYNAMIC_LINK", packages[-1]["SPDXID"]))
    for package in sorted(compiled_in(build) - set(dynamic)):
        packages.append(component(package, "its headers or static libraries are compiled in", ()))
        relations.append((root["SPDXID"], "CONTAINS" if package.endswith("-dev") else "DEPENDS_ON", packages[-1]["SPDXID"]))
    content = hashlib.sha256(json.dumps(packages, sort_keys=True).encode()).hexdigest()
    when = datetime.datetime.fromtimestamp(int(os.environ.get("SOURCE_DATE_EPOCH", (build / "CMakeCache.txt").stat().st_mtime)), datetime.timezone.utc)
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps({
        "spdxVersion": "SPDX-2.3", "dataLicense": "CC0-1.0", "SPDXID": "SPDXRef-DOCUMENT", "name": f"hyperhost-{version}",
        "documentNamespace": f"urn:hyperhost:sbom:{version}:{content[:32]}",
        "creationInfo": {"created": when.strftime("%Y-%m-%dT%H:%M:%SZ"), "creators": ["Tool: hyperhost-sbom"]},
        "packages": packages,
        "relationships": [{"spdxElementId": a, "relationshipType": kind, "relatedSpdxElement": b} for a, kind, b in relations]},
        indent=1) + "\n")


if __name__ == "__main__":
    main()
