#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Checks who may include whom, and who may touch the outside world, in src/.

The folders of src stand in layers: an include goes down, never sideways or up. Sockets, dlopen, intrinsics and printing
have one home each.
"""
import pathlib
import re
import sys

TOP = pathlib.Path(__file__).resolve().parent.parent

# folder -> what it may include: folders of src, or single headers
MAY_INCLUDE = {
    "base": set(),
    "npu": {"base"},
    "model": {"base"},
    "tokenizer": {"base"},
    "hub": {"base"},
    "device": {"base", "npu", "model"},
    "device/cpu": {"base", "npu", "model", "device"},
    "device/rknn": {"base", "npu", "model", "device", "device/cpu/cpu.h"},
    "encoder": {"base", "model", "device/device.h", "device/cpu/cpu.h"},
    "engine": {"base", "npu", "model", "tokenizer", "hub", "device", "device/cpu", "device/rknn", "encoder"},
    "server": {"base"},
    "cli": {"base", "npu", "hub", "server"},
}
PUBLIC = "rkformer.h"  # everybody may

# what -> (pattern over a file without comments and strings, homes as path prefixes)
AT_HOME = {
    "intrinsics": (
        r"#\s*include\s*<(\w*mmintrin|x86intrin|immintrin|arm_neon|arm_sve|arm_fp16|arm_bf16)\.h>",
        ("src/device/cpu/kernels_",),
    ),
    "dlopen": (r"#\s*include\s*<dlfcn\.h>|\bdl(open|sym|mopen)\s*\(", ("src/base/dynlib.c", "src/device/rknn/")),
    "sockets": (
        r"#\s*include\s*<(sys/socket|netinet/\w+|arpa/inet|netdb|sys/un|microhttpd|curl/\w+)\.h>",
        ("src/server/", "src/hub/"),
    ),
    "terminal": (r"#\s*include\s*<(ncurses|curses|ncursesw/\w+|termios)\.h>", ("src/cli/",)),
    "printing": (
        r"\b(printf|vprintf|puts|putchar|perror|psignal|v?dprintf)\s*\(|\b(stdout|stderr)\b",
        ("src/cli/",),
    ),
    "ending the process": (r"\b(abort|exit|_exit|quick_exit|assert)\s*\(", ("src/cli/",)),
}


def bare(text):
    """The text without comments, and with string literals emptied (but those of #include)."""

    def blank(match):
        piece = match.group(0)
        if piece.startswith("/"):
            return re.sub(r"[^\n]", " ", piece)
        return piece

    text = re.sub(r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"', blank, text, flags=re.S)
    lines = []
    for line in text.split("\n"):
        if not re.match(r"\s*#\s*include", line):
            line = re.sub(r'"(?:\\.|[^"\\])*"', '""', line)
        lines.append(line)
    return "\n".join(lines)


def layer(folder):
    """The row of MAY_INCLUDE that a folder below src belongs to, or None."""
    parts = folder.split("/")
    for n in range(len(parts), 0, -1):
        name = "/".join(parts[:n])
        if name in MAY_INCLUDE:
            return name
    return None


def check_file(path):
    name = path.relative_to(TOP).as_posix()
    folder = path.parent.relative_to(TOP / "src").as_posix()
    home = layer(folder)
    if home is None:
        yield f"{name}: src/{folder} is not a known folder: add it to tools/check_includes.py"
        return
    text = bare(path.read_text())
    for number, line in enumerate(text.split("\n"), 1):
        include = re.match(r'\s*#\s*include\s*"([^"]+)"', line)
        if include and include.group(1) != PUBLIC:
            header = include.group(1)
            at = (TOP / "src" / header) if (TOP / "src" / header).exists() else (path.parent / header)
            if not at.exists():
                yield f'{name}:{number}: "{header}" is not in src'
                continue
            header = at.resolve().relative_to(TOP / "src").as_posix()
            its_folder = layer(header.rsplit("/", 1)[0])
            if its_folder != home and its_folder not in MAY_INCLUDE[home] and header not in MAY_INCLUDE[home]:
                yield f"{name}:{number}: {home} must not include {header}"
        for what, (pattern, homes) in AT_HOME.items():
            if re.search(pattern, line) and not name.startswith(homes):
                yield f"{name}:{number}: {what} belongs in {', '.join(homes)}: {line.strip()[:80]}"


def main():
    problems = []
    for path in sorted((TOP / "src").rglob("*.[ch]")):
        problems += check_file(path)
    for path in sorted((TOP / "sim").rglob("*.[ch]")):
        for number, line in enumerate(bare(path.read_text()).split("\n"), 1):
            include = re.match(r'\s*#\s*include\s*"([^"]+)"', line)
            if include and ((TOP / "src" / include.group(1)).exists() or include.group(1) == PUBLIC):
                problems.append(f"{path.relative_to(TOP)}:{number}: the simulator includes nothing of src")
    for problem in problems:
        print(problem)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
