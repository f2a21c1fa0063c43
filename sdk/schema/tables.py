#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The tables of sdk/README.md, made from the schemas beside this file. Between

    <!-- table: vm.description -->
    <!-- end of table -->

stands what this program writes there: run it after a change of a schema. With --check it changes nothing and fails where
a table is stale; tests/abi/guide.py does that."""
import json
import pathlib
import re
import sys

HERE = pathlib.Path(__file__).resolve().parent
GUIDE = HERE.parent / "README.md"
_TABLE = re.compile(r"(<!-- table: (?P<name>\S+) -->\n).*?(<!-- end of table -->)", re.S)
_TYPES = {"string": "text", "integer": "integer", "number": "number", "boolean": "true, false", "array": "list", "object": "object"}


def schema(name):
    """The schema, with the schemas of other documents in place of the references to them; `x-document` is their name."""
    return _whole(json.loads((HERE / f"{name}.json").read_text(encoding="utf-8")))


def _whole(part):
    if isinstance(part, list):
        return [_whole(one) for one in part]
    if not isinstance(part, dict):
        return part
    if not str(part.get("$ref", "")).endswith(".json"):
        return {key: _whole(value) for key, value in part.items()}
    name = part["$ref"].removesuffix(".json")
    other = schema(name)
    return {"x-document": name, "type": "object", "properties": {key: value for key, value in other["properties"].items() if key != "must_understand"},
            **{key: other[key] for key in ("required",) if key in other}, **{key: value for key, value in part.items() if key != "$ref"}}


def followed(root, part):
    """`part` with what its $ref names beneath it: its own description wins."""
    if "$ref" not in part:
        return part
    target = root
    for token in part["$ref"].removeprefix("#/").split("/"):
        target = target[token]
    return {**followed(root, target), **{key: value for key, value in part.items() if key != "$ref"}}


def kind(root, part):
    if "const" in part:
        return f"`{part['const']}`"
    if "enum" in part:
        return ", ".join(f"`{value}`" for value in part["enum"] if value is not None)
    types = part.get("type", [])
    names = [_TYPES[one] for one in ([types] if isinstance(types, str) else types) if one != "null"]
    if names == ["list"] and "items" in part:
        items = followed(root, part["items"])
        inner = kind(root, items)
        return f"list of {inner}" if "enum" in items else {"text": "list of texts", "object": "list of objects"}.get(inner, "list")
    return " or ".join(names) or "any"


def rows(root, part, prefix=""):
    """(path, kind, description) of each member beneath an object; a list's items count as `list[]`."""
    required = part.get("required", [])
    for key, member in part.get("properties", {}).items():
        if key == "must_understand":
            continue
        member = followed(root, member)
        path = prefix + key
        if "x-document" in member:
            yield path, key in required, f"the document `{member['x-document']}`", member["description"]
            continue
        yield path, key in required, kind(root, member), member["description"]
        if "properties" in member:
            yield from rows(root, member, path + ".")
        items = followed(root, member["items"]) if "items" in member else {}
        if "properties" in items:
            yield from rows(root, items, path + "[].")


def table(name):
    root = schema(name)
    lines = [root["description"], "", "| member | value | meaning |", "|---|---|---|"]
    for path, required, value, text in rows(root, root):
        text = text.replace("|", "\\|")
        lines.append(f"| `{path}` | {value} | {'**Required.** ' if required else ''}{text} |")
    if len(lines) == 4:
        return root["description"] + "\n"
    return "\n".join(lines) + "\n"


def written(guide):
    return _TABLE.sub(lambda match: match[1] + table(match["name"]) + match[3], guide)


def names(guide):
    return [match["name"] for match in _TABLE.finditer(guide)]


def main():
    guide = GUIDE.read_text(encoding="utf-8")
    fresh = written(guide)
    if "--check" in sys.argv[1:]:
        if fresh != guide:
            sys.exit(f"{GUIDE} is stale: run {pathlib.Path(__file__).name}")
    elif fresh != guide:
        GUIDE.write_text(fresh, encoding="utf-8")


if __name__ == "__main__":
    main()
