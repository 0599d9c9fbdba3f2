# SPDX-License-Identifier: Apache-2.0
"""A model's name -> a directory or file on this machine: paths, the Hugging Face cache, and only then the network.

Downloads are made by `rkformer pull`, else by huggingface_hub if it is installed. HF_HUB_OFFLINE and TRANSFORMERS_OFFLINE
are honoured.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any, List, Optional, Union

from rkformer import _native

_FILES = ("*.json", "*.txt", "*.model", "*.safetensors", "*.rknn", "README.md")


def is_offline() -> bool:
    return any(
        os.environ.get(name, "").upper() in ("1", "ON", "YES", "TRUE") for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
    )


def cache_directory(cache_dir: Optional[Union[str, "os.PathLike[str]"]]) -> Path:
    """Where the hub's files are kept: the argument, else HF_HUB_CACHE, HF_HOME/hub, ~/.cache/huggingface/hub."""
    if cache_dir:
        return Path(cache_dir)
    for name, below in (
        ("HF_HUB_CACHE", ""),
        ("HUGGINGFACE_HUB_CACHE", ""),
        ("HF_HOME", "hub"),
        ("XDG_CACHE_HOME", "huggingface/hub"),
    ):
        value = os.environ.get(name)
        if value:
            return Path(value, below) if below else Path(value)
    return Path.home() / ".cache" / "huggingface" / "hub"


def _has_model(folder: Path) -> bool:
    if not folder.is_dir():
        return False
    for pattern in ("*.safetensors", "*.safetensors.index.json", "*.rknn", "*/*.rknn"):
        if next(folder.glob(pattern), None) is not None:
            return True
    return False


def in_cache(model_id: str, revision: Optional[str], cache: Path, subfolder: str = "") -> Optional[Path]:
    """The snapshot of a hub id that holds a model, or None. One without files that run here does if its base model is there:
    so `rkformer pull` leaves a repository of .rknn files on a machine without an NPU."""
    snapshot = _snapshot(model_id, revision, cache)
    folder = snapshot / subfolder if subfolder else snapshot
    if _has_model(folder):
        return snapshot
    base = base_model_of(folder) if (folder / "config.json").is_file() else None
    return snapshot if base and _has_model(_snapshot(base, None, cache)) else None


def _snapshot(model_id: str, revision: Optional[str], cache: Path) -> Path:
    repo = cache / ("models--" + model_id.replace("/", "--"))
    name = revision or "main"
    ref = repo / "refs" / name
    commit = ref.read_text().strip() if ref.is_file() else name
    return repo / "snapshots" / commit


def _pull(model_id: str, revision: Optional[str], cache: Path, token: Any) -> Union[Path, str]:
    """Downloads with the command. The directory, or why not. A repository of .rknn files only comes with its base model."""
    command = _native.command()
    if command is None:
        return "the command rkformer is not installed"
    arguments = [command, "pull", model_id, "--json", "--cache-dir", str(cache)]
    environment = dict(os.environ)
    if revision:
        arguments += ["--revision", revision]
    if isinstance(token, str):
        environment["HF_TOKEN"] = token
    done = subprocess.run(arguments, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
    if done.returncode:
        lines = done.stderr.decode("utf-8", "replace").strip().splitlines()
        return lines[-1] if lines else f"rkformer pull ended with status {done.returncode}"
    return Path(str(json.loads(done.stdout)["path"]))


def _download(model_id: str, revision: Optional[str], cache: Path, token: Any, force: bool) -> Optional[str]:
    """Downloads with huggingface_hub. None: done; else why not."""
    try:
        from huggingface_hub import snapshot_download
    except ImportError:
        return "huggingface_hub is not installed"
    patterns: List[str] = [p for f in _FILES for p in (f, "*/" + f)]
    try:
        snapshot_download(
            model_id,
            revision=revision,
            cache_dir=str(cache),
            token=token,
            force_download=force,
            allow_patterns=patterns,
            ignore_patterns=["onnx/*", "openvino/*"],
        )
    except Exception as error:  # its exceptions have no common base but Exception
        return f"huggingface_hub: {error}"
    return None


def resolve(
    model_id: Union[str, "os.PathLike[str]"],
    *,
    revision: Optional[str] = None,
    cache_dir: Optional[Union[str, "os.PathLike[str]"]] = None,
    token: Any = None,
    force_download: bool = False,
    local_files_only: bool = False,
    subfolder: str = "",
) -> Path:
    """The directory or .rknn file of a model. NotFoundError (an OSError) says what was tried and what to do."""
    name = os.fspath(model_id)
    path = Path(name)
    if path.exists():
        return path
    if path.is_absolute() or name.startswith((".", "~")) or name.endswith(".rknn") or name.count("/") > 1:
        what = "RKNN model not found" if name.endswith(".rknn") else "there is no model directory"
        raise _native.NotFoundError(f"{what}: {name}")
    cache = cache_directory(cache_dir)
    found = in_cache(name, revision, cache, subfolder)
    if found and not force_download:
        return found
    if local_files_only or is_offline():
        why = "local_files_only is set" if local_files_only else "HF_HUB_OFFLINE is set"
        raise _native.NotFoundError(
            f"{name} is neither a directory nor in the Hugging Face cache {cache}, and {why}: "
            f"fetch it with `rkformer pull {name}` where there is a network"
        )
    pulled = _pull(name, revision, cache, token)
    if isinstance(pulled, Path):
        return pulled
    failed = _download(name, revision, cache, token, force_download)
    found = in_cache(name, revision, cache, subfolder)
    if failed is None and found:
        return found
    raise _native.NotFoundError(
        f"{name} is neither a directory nor in the Hugging Face cache {cache}, and could not be fetched "
        f"({pulled}; {failed or 'the repository has no model'}): check the name and the network, or put it there with "
        f"`rkformer pull {name}`"
    )


def base_model_of(folder: Path) -> Optional[str]:
    """The base_model of a README's metadata (its first, if there are several)."""
    try:
        lines = (folder / "README.md").read_text("utf-8", "replace").splitlines()
    except OSError:
        return None
    if not lines or lines[0].strip() != "---":
        return None
    value = ""
    for i, line in enumerate(lines[1:], 1):
        if line.strip() == "---":
            break
        if line.startswith("base_model:"):
            value = line.split(":", 1)[1].strip()
            if not value and i + 1 < len(lines) and lines[i + 1].lstrip().startswith("- "):
                value = lines[i + 1].lstrip()[2:].strip()
            break
    return value.strip("[]\"' ").split(",")[0].strip("\"' ") or None
