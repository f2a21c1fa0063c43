#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The source tree's own rules:  lint.py format | layering | rooms | licence | names | scripts | english | functions | temporary

format    clang-format-14 has nothing to change
layering  sdk uses the standard library only; plugins never core or hosts; core never plugins or hosts, nor a plugin's id
rooms     core's rooms include only themselves and the rooms below them
licence   every source file names its licence in its first three lines
names     no file is a place to put things (util, helper, common, manager)
scripts   Python compiles, shell scripts parse; a file that begins with #! is executable
english   none of the words that make this project's prose unclear
functions no function of core has 70 lines
temporary temporary files have names that no one can guess, in directories of our own
"""

import os
import re
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SOURCE = (".c", ".h", ".cpp", ".hpp")

_STANDARD = set("""
algorithm any array atomic barrier bit bitset cassert cctype cerrno cfenv cfloat charconv chrono cinttypes climits
clocale cmath compare complex concepts condition_variable coroutine csetjmp csignal cstdarg cstddef cstdint cstdio
cstdlib cstring ctime cuchar cwchar cwctype deque exception execution filesystem format forward_list fstream
functional future initializer_list iomanip ios iosfwd iostream istream iterator latch limits list locale map memory
memory_resource mutex new numbers numeric optional ostream queue random ranges ratio regex scoped_allocator semaphore
set shared_mutex source_location span sstream stack stdexcept stop_token streambuf string string_view syncstream
system_error thread tuple type_traits typeindex typeinfo unordered_map unordered_set utility valarray variant vector
version assert.h complex.h ctype.h errno.h fenv.h float.h inttypes.h iso646.h limits.h locale.h math.h setjmp.h
signal.h stdalign.h stdarg.h stdatomic.h stdbool.h stddef.h stdint.h stdio.h stdlib.h stdnoreturn.h string.h
tgmath.h threads.h time.h uchar.h wchar.h wctype.h
""".split())


def tracked():
    """Paths from the root. Git's list; without Git (a tarball) all but build and output."""
    try:
        done = subprocess.run(["git", "-c", "safe.directory=*", "-C", ROOT, "ls-files", "-z", "--cached", "--others",
                               "--exclude-standard"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True)
        names = done.stdout.decode().split("\0")[:-1]
    except (OSError, subprocess.CalledProcessError):
        names = []
        for where, directories, files in os.walk(ROOT):
            directories[:] = [d for d in directories if d not in ("build", "out", ".git", "__pycache__", ".cache")]
            names += [os.path.relpath(os.path.join(where, f), ROOT) for f in files]
    return sorted(n for n in names if os.path.isfile(os.path.join(ROOT, n)))


def read(name):
    with open(os.path.join(ROOT, name), encoding="utf-8", errors="replace") as f:
        return f.read()


def check_format(names):
    sources = [n for n in names if n.endswith(SOURCE)]
    try:
        done = subprocess.run(["clang-format-14", "--dry-run", "-Werror", *sources], cwd=ROOT, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, check=False)
    except FileNotFoundError:
        return ["clang-format-14 is not installed"]
    return done.stdout.splitlines() if done.returncode else []


_FORBIDDEN = {"sdk": ("core/", "plugins/", "hosts/"), "plugins": ("core/", "hosts/"), "core": ("plugins/", "hosts/"),
              "hosts": ("plugins/",)}


def _sdk_may_include(name, target):
    beside = os.path.join(ROOT, os.path.dirname(name), target)
    return target in _STANDARD or target.startswith("hyper/") or os.path.isfile(beside)


def plugin_ids(names):
    ids = set()
    for name in names:
        if re.fullmatch(r"plugins/[^/]+/[^/]+/manifest\.json", name):
            match = re.search(r'"id"\s*:\s*"([^"]+)"', read(name))
            if match:
                ids.add(match[1])
    return ids


_WORDS = {"file"}  # ids that are words of the core's own documents ("durability": "file"), too


def check_plugin_names(names):
    """Core finds plugins by what their manifests offer: no text in it is a plugin's id, nor ID@VERSION."""
    ids, found = plugin_ids(names) - _WORDS, []
    if not ids:
        return found
    literal = re.compile(r'"(' + "|".join(map(re.escape, sorted(ids))) + r')(@[^"]*)?"')
    for name in names:
        if name.startswith("core/") and name.endswith(SOURCE):
            for number, line in enumerate(read(name).splitlines(), 1):
                match = literal.search(re.sub(r"(^|\s)//.*", "", line))
                if match:
                    found.append(f"{name}:{number}: core must not name the plugin '{match[1]}'")
    return found


def check_layering(names):
    found = check_plugin_names(names)
    for name in names:
        layer = name.split("/")[0]
        if layer not in _FORBIDDEN:
            continue
        if name.endswith(SOURCE):
            for number, line in enumerate(read(name).splitlines(), 1):
                match = re.match(r'\s*#\s*include\s*[<"]([^>"]+)[>"]', line)
                if not match:
                    continue
                target = match[1]
                inside = os.path.normpath(os.path.join(os.path.dirname(name), target)) if ".." in target else target
                if inside.startswith(_FORBIDDEN[layer]):
                    found.append(f"{name}:{number}: {layer} must not include {target}")
                elif name.startswith("sdk/include/") and not _sdk_may_include(name, target):
                    found.append(f"{name}:{number}: the sdk's headers use the standard library only, not {target}")
        elif name.endswith("CMakeLists.txt") and layer in ("sdk", "plugins"):
            for number, line in enumerate(read(name).splitlines(), 1):
                if re.search(r"\bhyperhost(_|::)(core|hosts)\b", line.split("#")[0]):
                    found.append(f"{name}:{number}: {layer} must not link hyperhost_core")
    return found


# Core's rooms, lowest first. A room includes itself and what stands before it (docs/architecture.md).
ROOMS = ("base", "os", "config", "plan", "state", "plugin", "disk", "block", "structures", "check", "events", "watch", "vm", "migrate", "run")


def check_rooms(names):
    found = []
    for name in names:
        parts = name.split("/")
        if parts[0] != "core" or not name.endswith(SOURCE) or parts[1] == "examples":  # those are programs of others
            continue
        if len(parts) < 3 or parts[1] not in ROOMS:
            found.append(f"{name}:1: core has no room '{parts[1]}'; its rooms are {', '.join(ROOMS)}")
            continue
        for number, line in enumerate(read(name).splitlines(), 1):
            match = re.match(r'\s*#\s*include\s*"core/([^/"]+)/', line)
            if match and (match[1] not in ROOMS or ROOMS.index(match[1]) > ROOMS.index(parts[1])):
                found.append(f"{name}:{number}: the room '{parts[1]}' stands below '{match[1]}' and must not include it")
    return found


def is_script(name):
    with open(os.path.join(ROOT, name), "rb") as f:
        return f.read(2) == b"#!"


def check_licence(names):
    found = []
    for name in names:
        if name.split("/")[0] not in ("core", "plugins", "sdk", "hosts", "tests", "configs"):
            continue
        code = name.endswith(SOURCE + (".py", ".sh", ".cmake", ".js")) or os.path.basename(name) == "CMakeLists.txt"
        lines = read(name).splitlines()
        if (code or is_script(name)) and len(lines) > 2 and not any("SPDX-License-Identifier: Apache-2.0" in line
                                                                    for line in lines[:3]):
            found.append(f"{name}:1: no SPDX-License-Identifier: Apache-2.0 in the first three lines")
    return found


# Public names that came with the project's first description and stay.
_KEPT_NAMES = {"conversion_manager", "cloud_storage_manager", "webhook_manager"}


def check_names(names):
    bad = re.compile(r"(^|[/_-])(utils?|helpers?|common|managers?|misc)(?=[/._-]|$)")
    found = []
    for name in names:
        plain = "/".join(part for part in name.split("/") if part.split(".")[0].removesuffix("_test") not in _KEPT_NAMES)
        if name.split("/")[0] in ("core", "plugins", "sdk", "hosts", "tests") and bad.search(plain):
            found.append(f"{name}: this name says nothing about what lives there")
    return found


def check_scripts(names):
    found = []
    for name in names:
        if is_script(name) and not os.stat(os.path.join(ROOT, name)).st_mode & 0o100:
            found.append(f"{name}:1: it begins with #! and is not executable: chmod +x, or drop the line")
        text = read(name) if name.endswith((".py", ".sh")) or is_script(name) else ""
        first = text.split("\n", 1)[0]
        if name.endswith(".py") or "python3" in first:
            try:
                compile(text, name, "exec", dont_inherit=True)
            except SyntaxError as error:
                found.append(f"{name}:{error.lineno}: {error.msg}")
        elif name.endswith(".sh") or re.match(r"#!\s*/bin/(ba)?sh", first):
            shell = "bash" if "bash" in first else "sh"
            done = subprocess.run([shell, "-n", os.path.join(ROOT, name)], stderr=subprocess.PIPE, text=True, check=False)
            found += [f"{name}: {line}" for line in done.stderr.splitlines()]
    return found


# A word and what is meant by it. CONTRIBUTING.md, "English".
_UNCLEAR = {"told": "reported, passed, configured", "nobody": "no one, or the actor", "anew": "again, from the start",
            "owed": "open, or what must be undone", "goes on with": "continues", "gone on with": "resumed"}
_FROZEN = ("tests/abi/frozen/",)  # headers as they were released


def check_english(names):
    bad = re.compile(r"(?<![`\"])\b(" + "|".join(word.replace(" ", r"\s+") for word in _UNCLEAR) + r")\b", re.I)
    found = []
    for name in names:
        if not name.endswith((".hpp", ".cpp", ".h", ".md")) or name.startswith(_FROZEN):
            continue
        for number, line in enumerate(read(name).splitlines(), 1):
            for word in bad.findall(line):
                plain = _UNCLEAR[" ".join(word.lower().split())]
                found.append(f"{name}:{number}: '{word}' is unclear here: {plain}")
    return found


LONGEST_FUNCTION = 69
_NOT_CODE = re.compile(r'//[^\n]*|/\*.*?\*/|R"(\w*)\(.*?\)\1"|"(?:\\.|[^"\\\n])*"|(?<!\w)\'(?:\\.|[^\'\\\n])+\'', re.S)


def functions(text):
    """(first line, last line) of each function's body, by its braces; what stands inside one is part of it."""
    text = _NOT_CODE.sub(lambda found: re.sub(r"[^\n]", " ", found.group(0)), text)
    text = re.sub(r"^[ \t]*#[^\n]*(?:\\\n[^\n]*)*", lambda found: re.sub(r"[^\n]", " ", found.group(0)), text, flags=re.M)
    found, stack, head, line = [], [], "", 1
    for sign in text:
        if sign == "{":
            # A function has parameters; an initialiser list or a lambda's body comes after an equals sign.
            named = re.match(r"\s*(namespace|class|struct|union|enum|extern)\b", head) and "(" not in head
            body = not named and ")" in head and not any(kind for kind, _ in stack)
            stack.append((body, line))
            head = ""
        elif sign == "}":
            if stack:
                body, first = stack.pop()
                if body:
                    found.append((first, line))
            head = ""
        elif sign == ";":
            head = ""
        else:
            head += sign
        line += sign == "\n"
    return found


def check_functions(names):
    found = []
    for name in names:
        if not name.startswith("core/") or not name.endswith((".cpp", ".hpp")):
            continue
        for first, last in functions(read(name)):
            if last - first + 1 > LONGEST_FUNCTION:
                found.append(f"{name}:{first}: a function of {last - first + 1} lines: divide it (at most {LONGEST_FUNCTION})")
    return found


_PRODUCT = ("core/", "plugins/", "hosts/", "sdk/")
_PUBLIC_PLACE = re.compile(r'(?<!\+ )"(/var)?/tmp\b|\btemp_directory_path\b|\bP_tmpdir\b|\bgetenv\("TMPDIR"')
# A socket there: its random name is taken by bind(), which takes no name that is there.
_BINDS = ("plugins/converter/qemu-img/listener.cpp",)
# The operator names the audit log's path, which may lead over a link.
_MAY_FOLLOW = ("core/watch/audit/audit_file.cpp",)


def check_temporary(names):
    """A public directory may only be where mkdtemp() makes ours; what is made by O_CREAT must be new, or no link."""
    found = []
    for name in names:
        if not name.startswith(_PRODUCT) or not name.endswith(SOURCE):
            continue
        text = read(name)
        text = re.sub(r"//[^\n]*|/\*.*?\*/", lambda comment: "\n" * comment[0].count("\n"), text, flags=re.S)
        public = None if name in _BINDS else _PUBLIC_PLACE.search(text)
        for number, line in enumerate(text.splitlines(), 1):
            for call in re.findall(r"\b(mktemp|tmpnam|tmpnam_r|tempnam|tmpfile)\s*\(", line):
                found.append(f"{name}:{number}: {call}() gives a name that can be guessed, or a file that cannot be bounded")
            for call in re.findall(r"\b(mkstemps?|mkostemps?)\s*\(", line) if public else ():
                found.append(f"{name}:{number}: {call}() beside a public directory: make a directory of our own there by mkdtemp()")
        if public and "mkdtemp(" not in text:
            found.append(f"{name}:{text[:public.start()].count(chr(10)) + 1}: files in a public directory, without one of our own")
        for made in re.finditer(r"[^;{}]*\bO_CREAT\b[^;{}]*", text):
            if not re.search(r"\bO_(EXCL|NOFOLLOW)\b", made[0]) and name not in _MAY_FOLLOW:
                place = text[:made.start()].count("\n") + made[0][:made[0].index("O_CREAT")].count("\n") + 1
                found.append(f"{name}:{place}: O_CREAT without O_EXCL or O_NOFOLLOW follows a link that somebody else put there")
    return found


CHECKS = {"format": check_format, "layering": check_layering, "rooms": check_rooms, "licence": check_licence, "names": check_names,
          "scripts": check_scripts, "english": check_english, "functions": check_functions, "temporary": check_temporary}


def main():
    wanted = sys.argv[1:] or list(CHECKS)
    if any(w not in CHECKS for w in wanted):
        sys.exit(__doc__)
    names = tracked()
    found = [line for w in wanted for line in CHECKS[w](names)]
    print("\n".join(found[:200]) if found else f"{', '.join(wanted)}: {len(names)} files in order")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
