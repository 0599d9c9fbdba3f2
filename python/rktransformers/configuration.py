# SPDX-License-Identifier: Apache-2.0
"""What the exporter wrote about a .rknn file into config.json ("rknn": {relative path: block}), read.

Blocks come nested ("quantization", "optimization") or flat, say "target_platform" or "platform", and hold keys that this
version does not know: all of that is accepted, unknown keys are dropped.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from typing import Any, Dict, List, Mapping, Optional, Type, TypeVar

from .constants import DEFAULT_BATCH_SIZE, DEFAULT_MAX_SEQ_LENGTH, DEFAULT_OPSET

_T = TypeVar("_T")


def _known(cls: Type[_T], data: Mapping[str, Any]) -> Dict[str, Any]:
    """The entries of data that are fields of a dataclass, None left to the default where the default is not None."""
    out = {}
    for item in fields(cls):  # type: ignore[arg-type]
        if item.name in data and (data[item.name] is not None or item.default is None):
            out[item.name] = data[item.name]
    return out


@dataclass
class QuantizationConfig:
    """How a file was quantised. `quantized_dtype` means something only if `do_quantization` is true."""

    do_quantization: bool = False
    dataset_name: Optional[str] = None
    dataset_subset: Optional[str] = None
    dataset_size: int = 128
    dataset_split: Optional[List[str]] = None
    dataset_columns: Optional[List[str]] = None
    quantized_dtype: str = "w8a8"
    quantized_algorithm: str = "normal"
    quantized_method: str = "channel"
    quantized_hybrid_level: int = 0
    quant_img_RGB2BGR: bool = False
    auto_hybrid_cos_thresh: float = 0.98
    auto_hybrid_euc_thresh: Optional[float] = None

    def to_dict(self) -> Dict[str, Any]:
        return asdict(self)


@dataclass
class OptimizationConfig:
    """How the compiler optimised the graph."""

    optimization_level: int = 0
    enable_flash_attention: bool = False
    remove_weight: bool = False
    compress_weight: bool = False
    remove_reshape: bool = False
    sparse_infer: bool = False
    model_pruning: bool = False

    def to_dict(self) -> Dict[str, Any]:
        return asdict(self)


@dataclass
class RKNNConfig:
    """One file's block. batch_size and max_seq_length are the shape it was compiled for."""

    target_platform: str = "rk3588"
    quantization: QuantizationConfig = field(default_factory=QuantizationConfig)
    optimization: OptimizationConfig = field(default_factory=OptimizationConfig)
    model_input_names: Optional[List[str]] = None
    type_vocab_size: Optional[int] = None
    batch_size: int = DEFAULT_BATCH_SIZE
    max_seq_length: Optional[int] = DEFAULT_MAX_SEQ_LENGTH
    task_kwargs: Optional[Dict[str, Any]] = None
    float_dtype: str = "float16"
    mean_values: Optional[List[List[float]]] = None
    std_values: Optional[List[List[float]]] = None
    custom_string: Optional[str] = None
    inputs_yuv_fmt: Optional[List[str]] = None
    single_core_mode: bool = False
    dynamic_input: Optional[List[List[List[int]]]] = None
    op_target: Optional[Dict[str, str]] = None
    model_name_or_path: Optional[str] = None
    output_path: Optional[str] = None
    push_to_hub: bool = False
    hub_model_id: Optional[str] = None
    hub_token: Optional[str] = None
    hub_private_repo: bool = False
    hub_create_pr: bool = False
    opset: Optional[int] = DEFAULT_OPSET
    task: str = "auto"

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "RKNNConfig":
        """Reads a block. TypeError if it is not an object."""
        if not isinstance(data, Mapping):
            raise TypeError(f"a rknn block of config.json is an object, not {type(data).__name__}")
        known = _known(cls, data)
        if "target_platform" not in data and isinstance(data.get("platform"), str):
            known["target_platform"] = data["platform"]
        flat = {k: v for k, v in data.items() if not isinstance(v, Mapping)}
        nested = data.get("quantization")
        if not isinstance(nested, QuantizationConfig):
            quantization = _known(QuantizationConfig, {**flat, **(nested if isinstance(nested, Mapping) else {})})
            if not isinstance(nested, Mapping) and "do_quantization" not in quantization and "quantized_dtype" in flat:
                quantization["do_quantization"] = flat["quantized_dtype"] is not None
            known["quantization"] = QuantizationConfig(**quantization)
        nested = data.get("optimization")
        if not isinstance(nested, OptimizationConfig):
            known["optimization"] = OptimizationConfig(
                **_known(OptimizationConfig, {**flat, **(nested if isinstance(nested, Mapping) else {})})
            )
        return cls(**known)

    def to_export_dict(self) -> Dict[str, Any]:
        """The block as config.json holds it: what tells of the file, without where it was made and uploaded."""
        private = {"model_name_or_path", "output_path", "op_target", "type_vocab_size"}
        return {
            key: value
            for key, value in asdict(self).items()
            if key not in private and not key.startswith(("hub_", "push_"))
        }

    def to_dict(self) -> Dict[str, Any]:
        """The flat form that the compiler's config call takes."""
        flat = self.to_export_dict()
        quantization, optimization = flat.pop("quantization"), flat.pop("optimization")
        for key in ("batch_size", "max_seq_length", "task_kwargs", "task", "opset", "model_input_names"):
            flat.pop(key)
        flat.update({k: v for k, v in quantization.items() if k.startswith(("quantized_", "quant_img"))})
        flat.update(optimization)
        return flat


def find_block(blocks: Any, file: str) -> Optional[RKNNConfig]:
    """The block of a file by its path relative to the model's directory, else by its name if just one block has that name.
    None if there is none, or if it is no object."""
    if not isinstance(blocks, Mapping):
        return None
    block = blocks.get(file)
    if block is None:
        name = file.rsplit("/", 1)[-1]
        same = [value for key, value in blocks.items() if key.rsplit("/", 1)[-1] == name]
        block = same[0] if len(same) == 1 else None
    return RKNNConfig.from_dict(block) if isinstance(block, Mapping) else None
