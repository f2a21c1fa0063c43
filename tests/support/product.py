# SPDX-License-Identifier: Apache-2.0
"""Which build has what users get, for tests of that: packages, and programs of others beside them."""
import os
import pathlib

ROOT = pathlib.Path(__file__).resolve().parents[2]
UNDER_TEST = pathlib.Path(os.environ["HYPERHOST_BUILD_DIR"])


def optimised():
    """The build under test where it is optimised, else the one that the benchmark uses; None where there is neither."""
    for build in (UNDER_TEST, ROOT / "build/release"):
        cache = build / "CMakeCache.txt"
        if (build / "bin/hyperhost").exists() and "CMAKE_BUILD_TYPE:STRING=RelWithDebInfo" in cache.read_text():
            return build
    return None


def shipped():
    """The optimised build where tests/run has made it a moment ago, else the build under test. The sanitizers' programs are twenty
    times as large: to pack and unpack them takes minutes, and it is not what anyone installs."""
    return optimised() if os.environ.get("HYPERHOST_BENCH", "0") != "0" and optimised() else UNDER_TEST
