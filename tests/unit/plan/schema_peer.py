# SPDX-License-Identifier: Apache-2.0
# The verdicts of an independent JSON Schema implementation: SCHEMA.json on the command line,
# one JSON document a line on standard input, "1" (valid) or "0" a line on standard output.
import json
import sys

import jsonschema

with open(sys.argv[1], encoding="utf-8") as file:
    schema = json.load(file)
jsonschema.Draft202012Validator.check_schema(schema)
validator = jsonschema.Draft202012Validator(schema)
for line in sys.stdin:
    print(1 if validator.is_valid(json.loads(line)) else 0)
