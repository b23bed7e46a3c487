"""Graphs of transformers modules by optimum-onnx, under the same checks as ours."""

from __future__ import annotations

import inspect
import tempfile
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from types import MethodType
from typing import TYPE_CHECKING, Any

import onnx
import torch

from edgeseq.manifest import TaskKind
from export.errors import FamilyError
from export.network import GraphInput, Network, Outputs
from export.tracing import OPSET, check, clean, quiet

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_TASKS: dict[TaskKind, str] = {
    "masked-lm": "fill-mask",
    "causal-lm": "text-generation",
    "sequence-classification": "text-classification",
    "regression": "text-classification",
    "token-classification": "token-classification",
    "embedding": "feature-extraction",
}
_AXES = ("batch", "length")


class NativeNetwork(Network):
    """A module of transformers as a network, without what its class adds for training and generation."""

    def __init__(self, module: PreTrainedModel, inputs: tuple[GraphInput, ...]) -> None:
        super().__init__()
        self.module = module
        self.inputs = inputs

    def forward(self, *inputs: torch.Tensor) -> Outputs:
        named = {one.name: value for one, value in zip(self.inputs, inputs, strict=True)}
        return _outputs(self.module, named)


class OptimumExporter:
    """Makes graphs of `NativeNetwork` for a task."""

    def __init__(self, task: TaskKind) -> None:
        self.task = task

    @property
    def name(self) -> str:
        """The packages and their versions."""
        return f"optimum-onnx {version('optimum-onnx')} (optimum {version('optimum')})"

    def graph(self, network: Network, outputs: Sequence[str]) -> onnx.ModelProto:
        """The graph, opset `export.tracing.OPSET`. Raises `FamilyError` and `ParityError`."""
        from optimum.exporters.onnx import export

        assert isinstance(network, NativeNetwork)
        module = network.module
        config = self._config(network, outputs)

        def chosen(
            self: Any, input_ids: torch.Tensor, attention_mask: torch.Tensor | None = None
        ) -> dict[str, torch.Tensor]:
            named = {"input_ids": input_ids, "attention_mask": attention_mask}
            found = _outputs(self, {name: value for name, value in named.items() if value is not None})
            return {name: found[name] for name in outputs}

        with tempfile.TemporaryDirectory() as folder, torch.no_grad(), quiet():
            path = Path(folder) / "model.onnx"
            module.__dict__["forward"] = MethodType(chosen, module)
            try:
                export(module, config, path, opset=OPSET, disable_dynamic_axes_fix=True)
            except (RuntimeError, ValueError, TypeError, NotImplementedError, KeyError, AttributeError) as error:
                reason = (str(error).splitlines() or [type(error).__name__])[0]
                raise FamilyError(type(module).__name__, f"optimum-onnx cannot export it: {reason}") from error
            finally:
                module.__dict__.pop("forward", None)
            model = onnx.load(str(path))
        clean(model)
        check(model)
        return model

    def _config(self, network: NativeNetwork, outputs: Sequence[str]) -> Any:
        """Optimum's description of the module, with our inputs and outputs in place of its own."""
        from optimum.exporters.tasks import TasksManager

        module = network.module
        kind = str(module.config.model_type)
        try:
            make = TasksManager.get_exporter_config_constructor(
                "onnx", module, task=_TASKS[self.task], library_name="transformers"
            )
            config = make(module.config)
        except (KeyError, ValueError, NotImplementedError) as error:
            raise FamilyError(
                type(module).__name__, f"optimum-onnx does not export {self.task} of model type {kind}"
            ) from error
        inputs = {one.name: dict(enumerate(_AXES)) for one in network.inputs}
        with torch.no_grad():
            ids = torch.ones((2, 8), dtype=torch.int64)
            found = network(*(ids for _ in network.inputs))
        absent = [name for name in outputs if name not in found]
        if absent:
            raise FamilyError(absent[0], f"the model has no such output; it has {', '.join(found)}")
        axes = {name: dict(enumerate(_AXES[: found[name].ndim - 1])) for name in outputs}
        described = type(
            type(config).__name__,
            (type(config),),
            {"inputs": property(lambda _: inputs), "outputs": property(lambda _: axes)},
        )
        config.__class__ = described
        return config


def _outputs(module: PreTrainedModel, inputs: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Logits where the module has a head, and the last hidden state."""
    forward = type(module).forward
    settings: dict[str, Any] = {"return_dict": True}
    if "use_cache" in inspect.signature(forward).parameters:
        settings["use_cache"] = False
    if module.base_model is module:
        return {"last_hidden_state": forward(module, **inputs, **settings).last_hidden_state}
    found = forward(module, **inputs, **settings, output_hidden_states=True)
    return {"logits": found.logits, "last_hidden_state": found.hidden_states[-1]}
