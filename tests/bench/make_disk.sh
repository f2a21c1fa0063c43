#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Makes the benchmark's disks in DIR: a disk image with an ext4 file system full of real files from /usr
# (files.*) and one of noise that does not compress (noise.*), each as raw, qcow2, monolithicSparse and
# streamOptimized VMDK.
#   tests/bench/make_disk.sh [--quick] [DIR]      default DIR: out/bench (--quick: out/bench-quick)
# Full: 4 GiB virtual, about 2.75 GB of data (2 min, 12 GB of space). Quick: 256 MiB, about 170 MB.
# Files are taken in the order of their names, as often as needed, so the same machine gives the same disk.
set -euo pipefail
export LC_ALL=C PATH="$PATH:/usr/sbin:/sbin" E2FSPROGS_FAKE_TIME=1700000000
root=$(cd "$(dirname "$0")/../.." && pwd)
size=$((4 << 30)) data=$((2750 * 1000 * 1000)) noise=$((1 << 30)) name=bench
if [ "${1:-}" = --quick ]; then
  size=$((256 << 20)) data=$((170 * 1000 * 1000)) noise=$((64 << 20)) name=bench-quick
  shift
fi
out=${1:-$root/out/$name}
stamp="$size $data $noise $(sha256sum "$0" | cut -c1-16)"
if [ "$(cat "$out/stamp" 2>/dev/null)" = "$stamp" ]; then
  echo "bench disks: $out is up to date"
  exit 0
fi
mkdir -p "$out"
rm -f "$out"/files.* "$out"/noise.* "$out/stamp"
tree=$(mktemp -d "$out/tree.XXXXXX")
trap 'rm -rf "$tree"' EXIT

echo "bench disks: pick files from /usr"
# Hard links cost nothing; where /usr is another file system, copies do.
python3 -B - "$tree" "$data" <<'PY'
import itertools, os, shutil, sys
tree, wanted = sys.argv[1], int(sys.argv[2])

def files_below(top):
    for base, directories, names in os.walk(top):
        directories.sort()
        for path in (os.path.join(base, name) for name in sorted(names)):
            if os.path.isfile(path) and not os.path.islink(path) and os.access(path, os.R_OK):
                size = os.path.getsize(path)
                if 0 < size < 16 << 20:
                    yield path, size

# Libraries, programs, texts and headers by turns, so that a small disk has of each too.
kinds = [list(files_below(top)) for top in ("/usr/lib", "/usr/bin", "/usr/share", "/usr/include")]
files = [f for turn in itertools.zip_longest(*kinds) for f in turn if f]
if not files:
    sys.exit("bench disks: /usr has no files to read")
total = 0
for copy in itertools.count():
    for path, size in files:
        if total >= wanted:
            break
        target = f"{tree}/{copy}{path}"
        os.makedirs(os.path.dirname(target), exist_ok=True)
        try:
            os.link(path, target)
        except OSError:
            shutil.copyfile(path, target)
        total += -(-size // 4096) * 4096
    if total >= wanted:
        break
print(f"bench disks: {total / 1e6:.0f} MB of files")
PY

uuid=5a6d1f0e-0b5e-4c57-9a3a-626e63680001
truncate -s "$size" "$out/files.raw"
printf 'label: gpt\nlabel-id: %s\nfirst-lba: 2048\nstart=2048, size=%d, type=L, uuid=%s\n' \
  5a6d1f0e-0b5e-4c57-9a3a-626e63680002 $((size / 512 - 4096)) 5a6d1f0e-0b5e-4c57-9a3a-626e63680003 |
  sfdisk -q "$out/files.raw"
echo "bench disks: ext4"
mke2fs -q -F -t ext4 -b 4096 -i 8192 -m 0 -U $uuid -E "offset=1048576,hash_seed=$uuid,lazy_itable_init=0" \
  -d "$tree" "$out/files.raw" $(((size - (2 << 20)) / 1024))k
rm -rf "$tree"

echo "bench disks: noise"
python3 -B - "$out/noise.raw" "$noise" <<'PY'
import random, sys
rng, left = random.Random(1), int(sys.argv[2])
with open(sys.argv[1], "wb") as out:
    while left:
        step = min(left, 8 << 20)
        out.write(rng.randbytes(step))
        left -= step
PY

for disk in files noise; do
  echo "bench disks: $disk as qcow2, monolithicSparse, streamOptimized"
  qemu-img convert -W -m 16 -f raw -O qcow2 "$out/$disk.raw" "$out/$disk.qcow2"
  qemu-img convert -W -m 16 -f raw -O vmdk -o subformat=monolithicSparse "$out/$disk.raw" "$out/$disk.sparse.vmdk"
  qemu-img convert -f raw -O vmdk -o subformat=streamOptimized "$out/$disk.raw" "$out/$disk.stream.vmdk"
done
# The same disk as a member of an OVA, for the row that reads it in place.
ln -f "$out/files.stream.vmdk" "$out/bench-disk1.vmdk"
python3 -B - "$root" "$out" "$size" <<'PY'
import os, sys
root, out, size = sys.argv[1], sys.argv[2], int(sys.argv[3])
sys.path.insert(0, os.path.join(root, "tests/support"))
from ovf_descriptor import DiskRef, File, Machine, envelope
name = "bench-disk1.vmdk"
machine = Machine(id="bench", disks=[DiskRef(capacity=size, file=name, file_id="file1")])
with open(os.path.join(out, "bench.ovf"), "w", encoding="utf-8") as f:
    f.write(envelope([machine], [File("file1", name, os.path.getsize(os.path.join(out, name)))]))
PY
tar --format=ustar -C "$out" -cf "$out/files.ova" bench.ovf bench-disk1.vmdk
rm -f "$out/bench-disk1.vmdk" "$out/bench.ovf"
echo "$stamp" > "$out/stamp"
du -h "$out"/files.* "$out"/noise.*
