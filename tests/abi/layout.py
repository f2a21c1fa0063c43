#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The golden-layout gate of the plugin ABI.

Dumps every hyper_* struct of the C headers (field, type, offset) with clang and holds it against
the frozen layout of each released minor: what was released must be an exact prefix of what is
there now. A swapped or retyped slot is seen, since function pointers are compared by their type.

  layout.py            check against tests/abi/golden/*.txt, and check the gate itself
  layout.py --freeze   write the layout of the headers as golden/abi-MAJOR.MINOR.txt, and the headers themselves
                       as frozen/MAJOR.MINOR, which compat.py builds old plugins from (a release)
"""
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

HERE = pathlib.Path(__file__).resolve().parent
SDK = HERE.parents[1] / "sdk" / "include"
GOLDEN = HERE / "golden"
FROZEN = HERE / "frozen"
sys.path.insert(0, str(HERE.parent / "support"))
import requirement  # noqa: E402

CLANG = "clang-14"


def dump(include):
    """{struct: [(offset, type, field)]} of the headers below `include`."""
    source = "#include <hyper/hyper.h>\n"
    command = [CLANG, "-x", "c", "-std=c99", "-fsyntax-only", "-I", str(include),
               "-Xclang", "-fdump-record-layouts-complete", "-"]
    done = subprocess.run(command, input=source, capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"the headers do not compile:\n{done.stderr}")
    structs, current = {}, None
    for line in done.stdout.splitlines():
        begin = re.match(r"\s*0 \| struct (hyper_\w+)$", line)
        field = re.match(r"\s*(\d+) \|   (.+?)(\w+)$", line)
        end = re.match(r"\s*\| \[sizeof=(\d+), align=(\d+)\]", line)
        if begin:
            current = structs.setdefault(begin[1], [])
            current.clear()
        elif current is not None and end:
            current = None
        elif current is not None and field:
            current.append((int(field[1]), field[2].strip(), field[3]))
    if len(structs) < 15:
        raise SystemExit(f"only {len(structs)} structs were found: the dump was not understood")
    return structs


def write(structs):
    lines = []
    for name in sorted(structs):
        lines.append(f"struct {name}")
        lines += [f"  {offset:5} {field} : {kind}" for offset, kind, field in structs[name]]
    return "\n".join(lines) + "\n"


def read(text):
    structs, current = {}, None
    for line in text.splitlines():
        if line.startswith("struct "):
            current = structs.setdefault(line[7:], [])
        else:
            offset, field, kind = re.match(r"\s+(\d+) (\w+) : (.+)$", line).groups()
            current.append((int(offset), kind, field))
    return structs


def broken(released, now):
    """What of a released layout no longer holds."""
    problems = []
    for name, fields in released.items():
        have = now.get(name)
        if have is None:
            problems.append(f"struct {name} is gone")
            continue
        for index, old in enumerate(fields):
            new = have[index] if index < len(have) else None
            if new != old:
                problems.append(f"struct {name}, field {index}: was {old}, is {new}")
        if len(have) > len(fields) and not fields[0][2] == "size":
            problems.append(f"struct {name} grew and has no size in front")
    return problems


def check_gate():
    """The gate must see each way of breaking the ABI."""
    spoil = {
        "swapped slots": ("source.h", "uint32_t block_min;", "uint32_t block_swapped;"),
        "removed slot": ("plugin.h", "void (*stop)(void) HYPER_NOEXCEPT;", ""),
        "retyped slot": ("provider.h", "uint32_t flags,", "uint64_t flags,"),
        "inserted slot": ("sink.h", "void* ctx;", "void* ctx; uint64_t inserted;"),
    }
    released = dump(SDK)
    for what, (header, old, new) in spoil.items():
        with tempfile.TemporaryDirectory() as scratch:
            target = pathlib.Path(scratch) / "hyper"
            target.mkdir()
            for path in (SDK / "hyper").glob("*.h"):
                text = path.read_text()
                if path.name == header:
                    if old not in text:
                        raise SystemExit(f"{header} has no '{old}': update check_gate()")
                    text = text.replace(old, new, 1)
                (target / path.name).write_text(text)
            if not broken(released, dump(scratch)):
                raise SystemExit(f"the gate does not see a {what}")


def main():
    try:
        requirement.tool(CLANG, package="clang-14")
    except unittest.SkipTest as reason:
        print(f"skipped: {reason}")
        return 77
    structs = dump(SDK)
    types = (SDK / "hyper" / "types.h").read_text()
    version = ".".join(re.search(rf"#define HYPER_ABI_{part} (\d+)", types)[1] for part in ("MAJOR", "MINOR"))
    if "--freeze" in sys.argv:
        GOLDEN.mkdir(exist_ok=True)
        (GOLDEN / f"abi-{version}.txt").write_text(write(structs))
        shutil.rmtree(FROZEN / version, ignore_errors=True)
        # Drafts and the test host are no part of a release.
        shutil.copytree(SDK / "hyper", FROZEN / version / "hyper", ignore=shutil.ignore_patterns("draft", "testing"))
        return 0
    check_gate()
    failed = 0
    goldens = sorted(GOLDEN.glob("abi-*.txt"))
    if not any(path.name == f"abi-{version}.txt" for path in goldens):
        print(f"there is no golden layout of ABI {version}: run layout.py --freeze")
        failed = 1
    for path in goldens:
        for problem in broken(read(path.read_text()), structs):
            print(f"{path.name}: {problem}")
            failed = 1
        frozen = FROZEN / path.stem.removeprefix("abi-")
        if not frozen.is_dir() or read(path.read_text()) != dump(frozen):
            print(f"{frozen}: the frozen headers are not those of {path.name}")
            failed = 1
    current = GOLDEN / f"abi-{version}.txt"
    if current.exists() and read(current.read_text()) != structs:
        print(f"the headers say ABI {version} and differ from what was frozen as that: raise HYPER_ABI_MINOR")
        failed = 1
    print("layout: " + ("BROKEN" if failed else f"{len(structs)} structs hold"))
    return failed


if __name__ == "__main__":
    sys.exit(main())
