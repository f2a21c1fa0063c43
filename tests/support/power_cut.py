# SPDX-License-Identifier: Apache-2.0
"""What a power cut could leave of directories that were written to through faulty_files.cpp: names
that were not made durable are gone, contents are those of the last fsync with any of the later
pages, and a length between the two."""

import os
import pathlib
import shutil

PAGE = 4096


def loaded(library, **env):
    """The environment that loads faulty_files.cpp in front of the program. A sanitizer wants to come first, but
    what it looks at in a write and a sync it still sees, after the layer."""
    asan = ":".join(filter(None, (os.environ.get("ASAN_OPTIONS"), "verify_asan_link_order=0")))
    return {"LD_PRELOAD": str(library), "ASAN_OPTIONS": asan, **env}


def pages(path):
    """Offsets of the pages that hold data."""
    found, size = [], os.path.getsize(path)
    with open(path, "rb") as file:
        at = 0
        while at < size:
            try:
                data = os.lseek(file.fileno(), at, os.SEEK_DATA)
            except OSError:
                break
            at = os.lseek(file.fileno(), data, os.SEEK_HOLE)
            found += range(data // PAGE * PAGE, at, PAGE)
    return found


def torn(durable, now, rng):
    """Writes into `now` what could be there: its own pages, or those of `durable` (None: nothing)."""
    old_size = os.path.getsize(durable) if durable else 0
    new_size = os.path.getsize(now)
    with open(now, "r+b") as out:
        old = open(durable, "rb") if durable else None
        for at in sorted(set(pages(now)) | set(pages(durable) if durable else ())):
            if rng.random() < 0.5:
                continue
            if old is not None:
                old.seek(at)
            page = old.read(PAGE) if old is not None else b""
            out.seek(at)
            out.write(page.ljust(PAGE, b"\0")[:max(0, new_size - at)])
        if old is not None:
            old.close()
        out.truncate(rng.choice((old_size, new_size)) if old_size <= new_size else old_size)
        if old_size > new_size:  # it was cut, and the cut is lost
            with open(durable, "rb") as old:
                old.seek(new_size)
                out.seek(new_size)
                shutil.copyfileobj(old, out)


def cut(top, shadow, rng, fixed=lambda path: False):
    """Changes everything below `top`; `fixed`: what is no business of the test (sockets, locks)."""
    top, shadow = pathlib.Path(top), pathlib.Path(shadow)
    lost = 0

    def names(directory):
        try:
            text = (shadow / f"names-{os.stat(directory).st_ino}").read_text()
        except FileNotFoundError:
            return {}
        return {line.split(" ", 1)[1]: int(line.split(" ", 1)[0]) for line in text.splitlines()}

    def visit(directory, by_inode):
        nonlocal lost
        durable = names(directory)
        entries = {p.name: p for p in directory.iterdir()}
        for name, path in entries.items():
            inode = path.lstat().st_ino
            by_inode[inode] = path
            if fixed(path):
                continue
            if path.is_dir():
                if durable.get(name) != inode:
                    lost += 1
                    shutil.rmtree(path)
                else:
                    visit(path, by_inode)
        # Names: as they were made durable, or as they are now, each for itself.
        for name, path in list(entries.items()):
            if not path.exists() or path.is_dir() or fixed(path):
                continue
            inode = path.lstat().st_ino
            content = shadow / f"file-{inode}"
            if durable.get(name) != inode and rng.random() < 0.7:
                back = next((n for n, i in durable.items() if i == inode and n not in entries), None)
                lost += 1
                if back is not None:  # the rename is lost
                    path = path.rename(directory / back)
                else:
                    path.unlink()
                    continue
            torn(content if content.exists() else None, path, rng)

    visit(top, {})
    return lost
