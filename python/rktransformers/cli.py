# SPDX-License-Identifier: Apache-2.0
"""rk-transformers-cli: `env` prints what `rkformer env` says; `export` says that it is not here yet."""

from __future__ import annotations

import json
import platform
import subprocess
import sys
from typing import List, Optional

_USAGE = "usage: rk-transformers-cli env | export"


def environment() -> str:
    """What `rkformer env` says, and the versions of the Python side."""
    import rkformer
    from rkformer import _native

    command = _native.command()
    text = ""
    if command is not None:
        done = subprocess.run([command, "env"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
        text = done.stdout.decode("utf-8", "replace") if done.returncode == 0 else ""
    if not text:
        here = rkformer.devices()
        npu, runtime = here["npu"], here["runtime"]
        text = "\n".join(
            [
                f"rkformer: {rkformer.library_version()}",
                f"operating system: {platform.platform()}",
                f"board: {npu['board'] or 'not detected'}",
                f"platform: {npu['detected']}",
                f"NPU driver: {json.dumps(npu['driver'])}",
                f"NPU runtime: {json.dumps(runtime)}",
                f"CPU: {json.dumps(here['cpu'])}",
            ]
            + [f"advice: {advice}" for advice in npu["advice"]]
        )
    lines = [text.rstrip("\n"), f"Python: {platform.python_version()}"]
    for name in ("rkformer", "numpy", "torch", "transformers", "sentence-transformers", "rk-transformers"):
        lines.append(f"{name} (Python): {_version(name)}")
    return "\n".join(lines)


def _version(name: str) -> str:
    from importlib import metadata

    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "not installed"


def main(arguments: Optional[List[str]] = None) -> int:
    words = sys.argv[1:] if arguments is None else arguments
    if words[:1] == ["env"]:
        print(environment())
        return 0
    if words[:1] == ["export"]:
        print(
            "rk-transformers-cli: this version cannot export to .rknn: use RK-Transformers' exporter on an x86-64 machine; "
            "models with safetensors run without it",
            file=sys.stderr,
        )
        return 1
    if words[:1] in (["-h"], ["--help"]):
        print(_USAGE)
        return 0
    print(_USAGE, file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
