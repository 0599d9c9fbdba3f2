# SPDX-License-Identifier: Apache-2.0
"""The "rknn" blocks of config.json: nested, flat, old and strange."""

import pytest

from rktransformers import OptimizationConfig, QuantizationConfig, RKNNConfig
from rktransformers.configuration import find_block


def test_defaults():
    config = RKNNConfig()
    assert config.target_platform == "rk3588" and config.batch_size == 1 and config.max_seq_length == 512
    assert config.quantization == QuantizationConfig() and config.optimization == OptimizationConfig()
    assert config.quantization.quantized_dtype == "w8a8" and not config.quantization.do_quantization


def test_nested():
    config = RKNNConfig.from_dict(
        {
            "target_platform": "rk3576",
            "quantization": {"do_quantization": True, "dataset_name": "wikitext", "later_key": 1},
            "optimization": {"optimization_level": 3, "enable_flash_attention": True},
            "model_input_names": ["input_ids", "attention_mask"],
            "batch_size": 4,
            "task_kwargs": {"num_choices": 4},
            "rktransformers_version": "0.3.0",
            "extra_field": "ignored",
        }
    )
    assert config.target_platform == "rk3576" and config.batch_size == 4
    assert config.quantization.do_quantization and config.quantization.dataset_name == "wikitext"
    assert config.optimization.optimization_level == 3 and config.optimization.enable_flash_attention
    assert config.task_kwargs == {"num_choices": 4} and not hasattr(config, "extra_field")


def test_flat_as_the_readme_of_the_original_shows():
    config = RKNNConfig.from_dict({"platform": "rk3566", "quantized_dtype": "w8a8", "optimization_level": 2})
    assert config.target_platform == "rk3566" and config.optimization.optimization_level == 2
    assert config.quantization.do_quantization and config.quantization.quantized_dtype == "w8a8"


def test_nulls_mean_the_default():
    config = RKNNConfig.from_dict({"batch_size": None, "max_seq_length": None, "quantization": None, "task": None})
    assert config.batch_size == 1 and config.quantization == QuantizationConfig() and config.task == "auto"


def test_round_trip():
    config = RKNNConfig(
        model_input_names=["input_ids"],
        quantization=QuantizationConfig(do_quantization=True),
        optimization=OptimizationConfig(optimization_level=2),
        hub_token="secret",
    )
    exported = config.to_export_dict()
    assert "hub_token" not in exported
    again = RKNNConfig.from_dict(exported)
    assert again.quantization == config.quantization and again.optimization == config.optimization
    assert again.model_input_names == ["input_ids"]
    assert config.to_dict()["quantized_dtype"] == "w8a8" and "quantization" not in config.to_dict()


def test_blocks_are_found_by_path_not_by_ending():
    blocks = {
        "rknn/other_model.rknn": {"batch_size": 2},
        "model.rknn": {"batch_size": 3},
        "a/x.rknn": {},
        "b/x.rknn": {},
    }
    assert find_block(blocks, "model.rknn").batch_size == 3
    assert find_block(blocks, "rknn/other_model.rknn").batch_size == 2
    assert find_block(blocks, "elsewhere/other_model.rknn").batch_size == 2
    assert find_block(blocks, "c/x.rknn") is None and find_block(None, "model.rknn") is None
    assert find_block({"model.rknn": 5}, "model.rknn") is None
    with pytest.raises(TypeError):
        RKNNConfig.from_dict([1])
