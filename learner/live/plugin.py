"""vLLM general plugin: registers the load format `live`. vLLM calls `register` in every one of its
processes.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys

_PROCESSOR = "transformers.models.qwen2_vl.image_processing_qwen2_vl"
_PIL_TWIN = "transformers.models.qwen2_vl.image_processing_pil_qwen2_vl"


def register() -> None:
    """Make `--load-format live` known to vLLM. Calling it again changes nothing."""
    _alias_image_processor()
    from vllm.model_executor.model_loader import _LOAD_FORMAT_TO_MODEL_LOADER, register_model_loader

    if "live" not in _LOAD_FORMAT_TO_MODEL_LOADER:
        from learner.live.loader import LiveLoader

        register_model_loader("live")(LiveLoader)


def _alias_image_processor() -> None:
    """Without torchvision vLLM cannot inspect Qwen3.5: its image processor does not import, the PIL twin
    does.
    """
    if importlib.util.find_spec("torchvision") is None and _PROCESSOR not in sys.modules:
        sys.modules[_PROCESSOR] = importlib.import_module(_PIL_TWIN)
