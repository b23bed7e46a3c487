"""Any other architecture that the transformers library has itself, exported by optimum-onnx.

The module is built from the configuration alone; code beside the weights is never run, and weights are filled in as
strictly as everywhere.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch

from edgeseq.manifest import TaskKind
from export.checkpoint import Checkpoint
from export.errors import FamilyError
from export.families.bert import activation_of
from export.network import ATTENTION_MASK, INPUT_IDS, GraphInput, Model, Request
from export.optimum_graph import NativeNetwork, OptimumExporter
from export.tasks import output_names, task_of
from export.tokenizer import tokenizer_spec
from export.weights import Layout, load_weights

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel

_AUTO: Mapping[TaskKind, str] = {
    "masked-lm": "AutoModelForMaskedLM",
    "causal-lm": "AutoModelForCausalLM",
    "sequence-classification": "AutoModelForSequenceClassification",
    "regression": "AutoModelForSequenceClassification",
    "token-classification": "AutoModelForTokenClassification",
    "embedding": "AutoModel",
}
_REFUSED = {
    "esm": "transformers drops the mask when it scales embeddings for token dropout, so that padded rows with masked "
    "tokens come out wrong; this checkpoint is none of the ESM or Nucleotide Transformer layouts that are read here",
    "big_bird": "its attention is sparse from 704 tokens up, which a graph for all lengths does not hold",
}
"""Types that transformers knows, with the reason why its module is not taken."""
_DEFAULT_LENGTH = 512
_PROBED = 8192


class Native:
    """Reads checkpoints whose ``model_type`` the transformers library knows."""

    name = "any other transformers architecture"
    tokenizer = "its tokenizer.json or vocab.txt"
    tasks: tuple[TaskKind, ...] = tuple(_AUTO)
    max_length = "its table of positions, else --max-length"
    proven = "the transformers module, at each export"
    options: dict[str, str] = {  # noqa: RUF012
        "auto_map": "ignore: take transformers' own class although the configuration names code of its own"
    }

    def recognises(self, checkpoint: Checkpoint) -> bool:
        """A ``model_type`` of transformers."""
        from transformers import CONFIG_MAPPING

        return checkpoint.config.get("model_type") in CONFIG_MAPPING

    def read(self, checkpoint: Checkpoint, request: Request) -> Model:
        _refuse(checkpoint, request)
        task = task_of(checkpoint, request, self.tasks, "embedding")
        config = _config(checkpoint)
        module = _module(checkpoint, task, config)
        loaded = load_weights(module, checkpoint.tensors, _layout(checkpoint, module, task), checkpoint, task=task)
        module.train(False)
        takes_mask = ATTENTION_MASK in inspect.signature(module.forward).parameters
        inputs = (GraphInput(INPUT_IDS), *((GraphInput(ATTENTION_MASK),) if takes_mask else ()))
        network = NativeNetwork(module, inputs)
        tokenizer = tokenizer_spec(checkpoint.folder)
        network.eval()
        labelled = task.endswith("classification") or task == "regression"
        outputs = int(config.num_labels) if labelled else 0
        return Model(
            network=network,
            task=task,
            labels=output_names(checkpoint, request, task, outputs),
            activation=activation_of(checkpoint),
            tokenizer=tokenizer,
            max_length=_longest(checkpoint, request, network, config),
            loaded=replace(loaded, names={f"module.{own}": name for own, name in loaded.names.items()}),
            pads_exactly=takes_mask,
            exporter=OptimumExporter(task),
            notes=("The module is that of the transformers library, its graph that of optimum-onnx.",),
        )


def _refuse(checkpoint: Checkpoint, request: Request) -> None:
    kind = str(checkpoint.config["model_type"])
    if kind in _REFUSED:
        raise FamilyError(checkpoint, f"model type {kind} is not taken from transformers: {_REFUSED[kind]}")
    if checkpoint.config.get("is_encoder_decoder"):
        raise FamilyError(checkpoint, f"model type {kind} has an encoder and a decoder, which one graph does not hold")
    auto_map = checkpoint.config.get("auto_map")
    if auto_map and request.options.get("auto_map") != "ignore":
        named = next(iter(auto_map.values())) if isinstance(auto_map, Mapping) else auto_map
        raise FamilyError(
            checkpoint.config_file,
            f"auto_map names code of its own ({named}), which is never run; transformers' own {kind} may compute "
            "something else",
            remedy="if you know that it is the same: --option auto_map=ignore",
        )


def _config(checkpoint: Checkpoint) -> PretrainedConfig:
    from transformers import CONFIG_MAPPING

    settings = {key: value for key, value in checkpoint.config.items() if key not in ("auto_map", "torch_dtype")}
    try:
        config: PretrainedConfig = CONFIG_MAPPING[settings["model_type"]].from_dict(settings)
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise FamilyError(checkpoint.config_file, f"transformers refuses the configuration: {error}") from error
    return config


def _module(checkpoint: Checkpoint, task: TaskKind, config: PretrainedConfig) -> PreTrainedModel:
    import transformers

    try:
        module: PreTrainedModel = getattr(transformers, _AUTO[task]).from_config(config)
    except (ValueError, TypeError, KeyError, AttributeError, ImportError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise FamilyError(
            checkpoint, f"transformers has no {task} model of type {config.model_type}: {reason}"
        ) from error
    return torch.nn.Module.to(module, torch.float32)


def _layout(checkpoint: Checkpoint, module: PreTrainedModel, task: TaskKind) -> Layout:
    """Second names of one tensor stand for each other; heads and poolers that the task does not use are left out."""
    names = module.state_dict(keep_vars=True)
    first: dict[int, str] = {}
    aliases: list[tuple[str, str]] = []
    optional: dict[str, str] = {}
    for name, tensor in names.items():
        other = first.setdefault(id(tensor), name)
        if other != name:
            aliases.append((re.escape(name), other))
            optional[re.escape(name)] = f"the same tensor as {other}"
    unused = {
        r".*position_ids": "the numbers 0, 1, 2 …, which the graph counts itself",
        r".*pooler\..+": "the pooler is not used by this task",
        r"cls\.seq_relationship\..+": "head that tells whether two sentences follow each other",
    }
    renames: list[tuple[str, str]] = [
        (r"(.+)\.gamma", r"\1.weight"),
        (r"(.+)\.beta", r"\1.bias"),
    ]
    if task == "embedding":
        prefix = re.escape(module.base_model_prefix) + r"\."
        renames.insert(0, (rf"{prefix}(.+)", r"\1"))
        optional[r"pooler\..+"] = "absent; not used for the last hidden state"
        if any(re.match(prefix, name) for name in checkpoint.tensors):
            unused[rf"(?!{prefix}).+"] = "head of another task"
    return Layout(tuple(renames), tuple(aliases), unused, optional)


def _longest(checkpoint: Checkpoint, request: Request, network: NativeNetwork, config: Any) -> int:
    """The longest row that the module takes, at most what was asked for. Raises `FamilyError`.

    Tables of positions may start behind the padding id (RoBERTa), so that the module itself is asked.
    """
    keys = ("max_position_embeddings", "n_positions", "max_seq_len")
    positions = next((int(value) for key in keys if isinstance(value := getattr(config, key, None), int)), 0)
    if positions <= 0:
        return request.max_length or _DEFAULT_LENGTH
    padding = config.pad_token_id if isinstance(config.pad_token_id, int) else 0
    fits = [length for length in (positions, positions - padding - 1) if length <= _PROBED]
    found = next((length for length in fits if length > 0 and _runs(network, length, padding)), 0)
    longest = found or positions
    if fits and not found:
        raise FamilyError(checkpoint, f"the module does not run on rows of {fits[-1]} tokens")
    if request.max_length is not None and request.max_length > longest:
        raise FamilyError(
            checkpoint,
            f"rows of {request.max_length} tokens were asked for, but the table of positions ends at {longest}",
        )
    return request.max_length or longest


def _runs(network: NativeNetwork, length: int, padding: int) -> bool:
    ids = torch.full((1, length), 1 if padding == 0 else 0, dtype=torch.int64)
    try:
        with torch.inference_mode():
            network(*(ids, torch.ones_like(ids))[: len(network.inputs)])
    except (IndexError, RuntimeError):
        return False
    return True


FAMILY = Native()
