# SPDX-License-Identifier: Apache-2.0
"""Prints the table of test_front_matter.c: texts, and what PyYAML reads under base_model. Needs the package pyyaml."""
import json
import re

import yaml

cases = {
    "scalar": "---\nlicense: mit\nbase_model: a/b # why\n---\n# base_model: no\n",
    "list": "---\nbase_model:\n- a/b\n- 'c/d'   # x\ntags:\n- x\n---\n",
    "indented": "---\r\nbase_model:\r\n  - \"a/b\"\r\n  - c/d\r\n---\r\ntext",
    "flow": "---\nbase_model: [a/b, \"c/d\",\n  e/f ]\n---\n",
    "below": "---\nbase_model:\n  a/b\nx: y\n---\n",
    "folded": "---\nbase_model: >-\n  a/b\nx: y\n---\n",
    "literal": "---\nbase_model: |-\n  a/b\n---\n",
    "prefix": "---\nbase_model_relation: quantized\nbase_model: a/b\n---\n",
    "null": "---\nbase_model: null\n---\n",
    "tilde": "---\nbase_model: ~\n---\n",
    "empty": "---\nbase_model:\nlicense: mit\n---\n",
    "empty list": "---\nbase_model: []\n---\n",
    "mapping": "---\nbase_model: {name: a/b}\n---\n",
    "block mapping": "---\nbase_model:\n  name: a/b\n---\n",
    "comments": "---\n# first\nbase_model:\n  # which\n  - a/b\n\n  - c/d\n---\n",
    "hash inside": "---\nbase_model: a/b#c\n---\n",
    "spaces": "---  \nbase_model:    a/b   \n---\n",
    "single quotes": "---\nbase_model: 'a/b'\n---\n",
    "dots end": "---\nbase_model: a/b\n...\n",
}
for name, text in cases.items():
    match = re.match(r"\s*---[ ]*[\r\n]+([\S\s]*?)[\r\n]+(---|\.\.\.)", text)
    value = yaml.safe_load(match.group(1))["base_model"]
    values = value if isinstance(value, list) else [value]
    values = [json.dumps(v) for v in values if isinstance(v, str)]
    print("    { %s, { %s } }," % (json.dumps(text), ", ".join(values) or "NULL"))
