"""A base that is quantized while it is loaded: each linear weight becomes codes as soon as it is read.

What transformers calls a quantizer is an object that may replace weights as they come; ours makes `QuantizedLinear`
of the layers that adapters can act on. Embeddings, norms and the language head stay in the compute type.
"""

from typing import Any, cast

import torch
from transformers.core_model_loading import ConversionOps
from transformers.quantizers.auto import register_quantization_config, register_quantizer
from transformers.quantizers.base import HfQuantizer
from transformers.utils.quantization_config import QuantizationConfigMixin

from multitune.model.lora import replace_layers
from multitune.model.quantized import Quantization, QuantizedLinear, QuantizedWeight, quantize
from multitune.model.targets import linear_layers

METHOD = "multitune"  # by which transformers finds the two classes


class OnLoad(QuantizationConfigMixin):
    """What `from_pretrained` is given as `quantization_config`."""

    def __init__(self, kind: Quantization, device: torch.device) -> None:
        self.quant_method: Any = METHOD
        self.kind: Quantization = kind
        self.device = device
        self.fault: Exception | None = None  # why a weight could not be quantized, which transformers words away

    def __deepcopy__(self, memo: dict[int, Any]) -> "OnLoad":
        return self  # transformers copies its arguments, and the fault must come back


class _Quantizer(HfQuantizer):
    @property
    def is_trainable(self) -> None:
        return None  # not by transformers

    def is_serializable(self) -> None:
        return None

    def _process_model_before_weight_loading(self, model: Any, **_: Any) -> None:
        self.names = {f"{name}.weight" for name in linear_layers(model)}
        self.made: dict[str, QuantizedWeight] = {}

    def param_needs_quantization(self, model: Any, param_name: str, **_: Any) -> bool:
        return param_name in self.names

    def get_quantize_ops(self) -> ConversionOps:
        return _Quantize(cast(OnLoad, self.quantization_config), self.made)

    def _process_model_after_weight_loading(self, model: Any, **_: Any) -> Any:
        biases = {name: model.get_submodule(name).bias for name in self.made}
        replace_layers(model, {name: QuantizedLinear(weight, biases[name]) for name, weight in self.made.items()})
        self.remove_quantization_config(model)  # for transformers it is a model like any other from here on
        return model


class _Quantize(ConversionOps):
    def __init__(self, how: OnLoad, made: dict[str, QuantizedWeight]) -> None:
        self.how, self.made = how, made

    def convert(self, input_dict: dict[str, Any], *_: Any, **loading: Any) -> dict[str, Any]:
        """Keep the codes of a layer's weight; nothing is left for transformers to set."""
        for name, value in input_dict.items():
            weight: torch.Tensor = value[0] if isinstance(value, list) else value
            try:
                self.made[name.removesuffix(".weight")] = quantize(weight.to(self.how.device), self.how.kind)
            except Exception as error:
                self.how.fault = self.how.fault or error
                raise
            loading["missing_keys"].discard(name)
        return {}


register_quantization_config(METHOD)(OnLoad)
register_quantizer(METHOD)(_Quantizer)
