# SPDX-License-Identifier: Apache-2.0
"""docs/python.md names tests, methods and classes: they are there."""

import re

from conftest import TOP

import rkformer
import rktransformers

PAGE = (TOP / "docs" / "python.md").read_text(encoding="utf-8")


def section(title):
    return PAGE.split(f"\n## {title}\n")[1].split("\n## ")[0]


def test_every_test_that_the_table_names_is_there():
    rows = [line for line in section("What the original's own tests ask for").splitlines() if line.startswith("| ")][2:]
    assert len(rows) > 25
    names = {name for row in rows for name in re.findall(r"\btest_\w+\b(?!\.py)", row.rsplit("|", 2)[1])}
    assert names
    sources = "".join(path.read_text(encoding="utf-8") for path in (TOP / "python" / "tests").glob("test_*.py"))
    assert not {name for name in names if f"def {name}(" not in sources}
    for file in {file for row in rows for file in re.findall(r"\btest_\w+\.py\b", row.rsplit("|", 2)[1])}:
        assert (TOP / "python" / "tests" / file).is_file(), file


def test_every_method_of_the_native_api_is_there():
    rows = re.findall(r"^\| (`[^|]*`) \|", section("The native API"), flags=re.M)
    names = {name for row in rows for name in re.findall(r"`(\w+)", row)} - {"a"}
    assert len(names) > 12
    for name in names:
        assert callable(getattr(rkformer.Model, name)), name
        if name not in ("tokenize", "decode"):
            assert callable(getattr(rkformer.Model, "a" + name)), name


def test_every_class_is_there():
    for name in set(re.findall(r"`(RK[A-Z]?[A-Za-z]*[a-z]|QuantizationConfig|OptimizationConfig)`", PAGE)):
        assert name in dir(rktransformers), name
        try:
            assert getattr(rktransformers, name), name
        except ImportError as error:  # an adapter to something that is not installed says what it needs
            assert re.search(r"needs (langchain-core|llama-index-core): pip install", str(error)), error
