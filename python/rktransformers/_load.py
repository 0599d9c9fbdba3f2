# SPDX-License-Identifier: Apache-2.0
"""From what from_pretrained is given to an open rkformer.Model: which directory, which .rknn file, on which platform."""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Optional

import rkformer
from rkformer import _native

from . import _hub
from .configuration import RKNNConfig, find_block
from .constants import RKNN_WEIGHTS_NAME

logger = logging.getLogger("rktransformers")


class IncompatiblePlatformError(_native.UnavailableError, RuntimeError):
    """A .rknn file that was compiled for other platforms (RuntimeError, as in RK-Transformers)."""


class Loaded(NamedTuple):
    model: rkformer.Model
    folder: Path  # of config.json
    file: Optional[str]  # the .rknn file, relative to folder; None: the native forward pass
    rknn_config: Optional[RKNNConfig]
    config: Dict[str, Any]  # config.json


def read_config(folder: Path) -> Dict[str, Any]:
    """config.json; {} if there is none or it is broken (the library says what is wrong with it)."""
    try:
        value = json.loads((folder / "config.json").read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def rknn_files(folder: Path) -> List[str]:
    """Paths of the .rknn files below a folder, relative to it, model.rknn first."""
    files = [path.relative_to(folder).as_posix() for path in folder.glob("**/*.rknn")]
    return sorted(files, key=lambda file: (file.rsplit("/", 1)[-1] != RKNN_WEIGHTS_NAME, file.count("/"), file))


def find_file(folder: Path, file_name: str, model_id: str) -> str:
    """file_name relative to the folder; a bare name may also lie in a subfolder, if just one file has it."""
    if (folder / file_name).is_file():
        return Path(file_name).as_posix()
    same = [file for file in rknn_files(folder) if file.rsplit("/", 1)[-1] == file_name]
    if len(same) == 1:
        return same[0]
    raise _native.NotFoundError(
        f"{model_id} does not appear to have a file named {file_name}: it has {', '.join(rknn_files(folder)) or 'no .rknn'}"
    )


def platforms_of(path: Path) -> List[str]:
    """The platforms that a .rknn file was compiled for."""
    return [str(platform) for platform in rkformer.inspect(str(path)).get("platforms") or []]


def _here(platform: Optional[str]) -> Optional[str]:
    """The platform that files must fit: the one asked for, else the one detected; None: no NPU."""
    platform = platform or os.environ.get("RKFORMER_PLATFORM")
    if platform and platform != "auto":
        return platform
    detected = rkformer.devices()["npu"]["detected"]
    return None if detected in (None, "cpu") else str(detected)


def _check_platform(path: Path, platform: Optional[str]) -> None:
    here = _here(platform)
    supported = platforms_of(path)
    if here not in (None, "cpu") and supported and here not in supported:
        raise IncompatiblePlatformError(
            f"The model is not compatible with the current platform '{here}'. Supported platforms: {supported}"
        )


def load(
    model_id: str,
    path: Path,
    *,
    subfolder: str = "",
    file_name: Optional[str] = None,
    platform: Optional[str] = None,
    device: Optional[str] = None,
    core_mask: Optional[str] = "auto",
    dtype: Optional[str] = None,
    max_length: int = 0,
    **options: Any,
) -> Loaded:
    """Opens what lies at path (see _hub.resolve). hub options (cache_dir, token, ...) are for the base model of a repository
    that has .rknn files only, on a machine without an NPU."""
    if platform == "simulator":
        platform, device = None, "sim"
    platform = platform.lower() if platform else None
    if path.is_file():
        file_name = path.name
        folder = path.parent
        if not (folder / "config.json").is_file() and (folder.parent / "config.json").is_file():
            file_name, folder = f"{folder.name}/{file_name}", folder.parent
    else:
        folder = path / subfolder if subfolder else path
        if not folder.is_dir():
            raise _native.NotFoundError(f"{model_id} has no folder {subfolder}")
        file_name = find_file(folder, file_name, model_id) if file_name else None
    if file_name:
        _check_platform(folder / file_name, platform)
    arguments: Dict[str, Any] = dict(
        file_name=file_name, core_mask=core_mask, platform=platform, device=device, dtype=dtype, max_length=max_length
    )
    try:
        name = Path(model_id).name if os.path.exists(model_id) else model_id  # a hub id is shown with its organisation
        model = rkformer.Model(str(folder), name=name, **arguments)
    except (_native.NotFoundError, _native.FormatError, _native.UnsupportedError, _native.UnavailableError) as error:
        found = _without_npu(folder, error, options)
        if found is None:
            raise
        arguments["file_name"] = None
        base, base_folder = found
        logger.warning(
            "%s has .rknn files only and no NPU is here: its base model %s runs on the CPU instead", model_id, base
        )
        model, folder = rkformer.Model(str(base_folder), name=base, **arguments), base_folder
    config = read_config(folder)
    file = _file_in_use(model, folder, arguments["file_name"])
    return Loaded(model, folder, file, find_block(config.get("rknn"), file) if file else None, config)


def _file_in_use(model: rkformer.Model, folder: Path, file_name: Optional[str]) -> Optional[str]:
    if model.facts["device"] == "cpu":
        return None
    if file_name:
        return file_name
    if any(folder.glob("*.safetensors")) and not rknn_files(folder):
        return None
    files = [file for file in rknn_files(folder) if model.facts["platform"] in platforms_of(folder / file)]
    return files[0] if files else None


def _without_npu(folder: Path, error: Exception, options: Dict[str, Any]) -> Any:
    """(name, directory) of the base model, if it is lack of weights that stopped us: the library looks for it in the default
    cache only, and fetches nothing. Raises an error that says what to pull if the base model cannot be had."""
    if any(folder.glob("*.safetensors")) or not any(words in str(error) for words in ("weights", "compiled for an NPU")):
        return None
    base = _hub.base_model_of(folder)
    if base is None:
        return None
    try:
        return base, _hub.resolve(base, **options)
    except OSError as missing:
        raise _native.NotFoundError(
            f"{folder} has .rknn files only, which need an NPU, and its base model {base} is not here: "
            f"fetch it with `rkformer pull {base}` ({missing})"
        ) from None
