"""Caduceus (Schiff et al. 2024), Ph and PS, along both directions or along one.

Published configurations say neither how a classifier pools nor whether strands are conjoined after training: options
and, where a checkpoint's own name says it, that name decide.
"""

from __future__ import annotations

import re
from typing import Any, cast

import torch

from edgeseq.manifest import TaskKind
from export.checkpoint import Checkpoint
from export.errors import FamilyError, TensorsError
from export.network import Model, Request
from export.networks.caduceus import CaduceusHead, CaduceusNetwork, CaduceusShape, Pooling
from export.networks.mamba import MambaShape, Strategy
from export.settings import Settings
from export.tasks import labels_of, output_names, task_of
from export.tokenizer import tokenizer_spec
from export.weights import Layout, load_weights

NAME = "Caduceus"
"""What users call the family, and what the configuration of a network without a head calls its architecture."""
LONGEST = 131_072
"""Tokens in a row of the longest published models; nothing in the network ends there."""
_BACKBONE = r"((?:caduceus\.)?backbone\.)"
_POOLED = re.compile(r"(?:cls|pool|pooling|pooled)[-_](max|mean)|(max|mean)[-_]?pool", re.IGNORECASE)
_CONJOINING = ("conjoin", "conjoin_train", "conjoin_test", "conjoin_eval")
"""What a configuration may say of a classifier that reads both strands."""


class Caduceus:
    """Reads Caduceus checkpoints."""

    name = NAME
    tokenizer = "single bases"
    tasks: tuple[TaskKind, ...] = ("masked-lm", "causal-lm", "sequence-classification", "regression", "embedding")
    max_length = "131,072 bases"
    proven = "golden outputs"
    options: dict[str, str] = {  # noqa: RUF012
        "pooling": "mean or max over the row, for a classifier; default: mean, or what the checkpoint's name says",
        "conjoin": "yes: a Ph model also reads the reverse complement, inside the graph, and averages the two",
    }

    def recognises(self, checkpoint: Checkpoint) -> bool:
        named = checkpoint.config.get("model_type") == "caduceus" or checkpoint.architecture.startswith(NAME)
        return named and any(name.endswith("mamba_fwd.A_log") for name in checkpoint.tensors)

    def read(self, checkpoint: Checkpoint, request: Request) -> Model:
        settings = Settings(checkpoint.config, checkpoint.config_file)
        shape = _shape(checkpoint, settings)
        task = task_of(checkpoint, request, self.tasks, "embedding" if checkpoint.architecture == NAME else "masked-lm")
        if task == "causal-lm" and shape.both_directions:
            raise FamilyError(checkpoint, "it reads rows in both directions, so it cannot be a causal-lm")
        pooling, notes = _pooling(checkpoint, request)
        classifies = task in ("sequence-classification", "regression")
        words = not settings.flag("tie_word_embeddings", True)
        tokenizer = tokenizer_spec(checkpoint.folder)
        head = CaduceusHead(
            outputs=_outputs(checkpoint, request) if classifies else 0,
            words=words and task in ("masked-lm", "causal-lm"),
            pooling=pooling,
            conjoined=_conjoined(checkpoint, request, settings, shape, classifies=classifies),
            ending=next(reversed(tokenizer.get("suffix", [])), None),
            scores=task != "embedding",
        )
        stored = any(name.endswith("word_embeddings.complement_map") for name in checkpoint.tensors)
        if (shape.both_strands or head.conjoined) and not stored and "complement_map" not in settings:
            settings.refuse("complement_map", "is missing, and the model reads both strands")
        network = CaduceusNetwork(shape, head)
        network.complement.copy_(_complement(checkpoint, settings, shape.vocabulary))
        loaded = load_weights(network, checkpoint.tensors, _layout(shape, head, words), checkpoint, task=task)
        _check_complement(network.complement, checkpoint)
        network.fold()
        return Model(
            network=network,
            task=task,
            labels=output_names(checkpoint, request, task, head.outputs),
            tokenizer=tokenizer,
            max_length=request.max_length or LONGEST,
            loaded=loaded,
            strand="equivariant" if shape.both_strands or head.conjoined else "forward",
            pads_exactly=False,
            notes=notes if classifies else (),
        )


def _shape(checkpoint: Checkpoint, settings: Settings) -> CaduceusShape:
    width = settings.whole("d_model")
    mixer, group = settings.inner("ssm_cfg"), checkpoint.config.get("ssm_cfg") or {}
    kind = mixer.text("layer", "Mamba1")
    if kind != "Mamba1":
        mixer.refuse("layer", f"is {kind!r}; only Mamba1 is implemented")
    automatic = "dt_rank" not in mixer or group.get("dt_rank") == "auto"
    multiple = settings.whole("pad_vocab_size_multiple", 8)
    return CaduceusShape(
        vocabulary=-(-settings.whole("vocab_size") // multiple) * multiple,
        layers=settings.whole("n_layer"),
        mixer=MambaShape(
            width=width,
            inner=_inner(width, mixer),
            states=mixer.whole("d_state", 16),
            taps=mixer.whole("d_conv", 4),
            rank=-(-width // 16) if automatic else mixer.whole("dt_rank"),
            bias=mixer.flag("bias", False),
            convolution_bias=mixer.flag("conv_bias", True),
        ),
        epsilon=settings.number("norm_epsilon", 1e-5),
        rms=settings.flag("rms_norm", True),
        both_directions=settings.flag("bidirectional", True),
        tied_directions=settings.flag("bidirectional_weight_tie", True),
        strategy=cast(Strategy, settings.text("bidirectional_strategy", "add", choices=("add", "ew_multiply"))),
        both_strands=settings.flag("rcps", False),
        swaps=settings.flag("fused_add_norm", True),
    )


def _inner(width: int, mixer: Settings) -> int:
    """Channels inside a mixer: the product with ``expand``, which may be a fraction, cut off to a whole number."""
    factor = mixer.number("expand", 2)
    if int(factor * width) < 1:
        mixer.refuse("expand", f"is {factor:g}, which leaves no channel of {width}")
    return int(factor * width)


def _pooling(checkpoint: Checkpoint, request: Request) -> tuple[Pooling, tuple[str, ...]]:
    """How a classifier pools, and what to tell the user about where that was found."""
    said: Any = request.options.get("pooling")
    if said is None:
        said = checkpoint.config.get("pooling_strategy") or checkpoint.config.get("pooling")
    if said is not None:
        if said not in ("mean", "max"):
            raise FamilyError(checkpoint, f"pooling is {said!r}; known: mean, max")
        return cast(Pooling, said), ()
    for name in (checkpoint.folder.resolve().name, str(checkpoint.config.get("_name_or_path") or "")):
        if match := _POOLED.search(name):
            found = cast(Pooling, (match.group(1) or match.group(2)).lower())
            return found, (f"Pools by {found}, as the name {name!r} says; --option pooling=… asks for another.",)
    return "mean", ("Pools by mean, since the checkpoint does not say; --option pooling=max asks for the other.",)


def _conjoined(
    checkpoint: Checkpoint, request: Request, settings: Settings, shape: CaduceusShape, *, classifies: bool
) -> bool:
    """As the user asks; else a classifier's configuration decides, which a network of PS, that reads both strands in
    any case, does not have to."""
    said = request.options.get("conjoin")
    if said not in (None, "yes", "no"):
        raise FamilyError(checkpoint, f"conjoin is {said!r}; known: yes, no")
    if said is None:
        conjoined = classifies and not shape.both_strands and any(settings.flag(key, False) for key in _CONJOINING)
    else:
        conjoined = said == "yes"
    if conjoined and shape.both_strands:
        raise FamilyError(checkpoint, "PS reads both strands already, so it cannot be conjoined")
    return conjoined


def _outputs(checkpoint: Checkpoint, request: Request) -> int:
    score = checkpoint.tensors.get("score.weight")
    return len(labels_of(checkpoint, request)) or 2 if score is None or score.ndim != 2 else int(score.shape[0])


def _complement(checkpoint: Checkpoint, settings: Settings, vocabulary: int) -> torch.Tensor:
    """The complement of each token; those that the configuration does not name are their own.

    Its keys are numbers written as text, in any order: read by value, not by place.
    """
    found = torch.arange(vocabulary)
    settings.inner("complement_map")
    for key, value in (checkpoint.config.get("complement_map") or {}).items():
        if not (key.isdigit() and isinstance(value, int) and int(key) < vocabulary and 0 <= value < vocabulary):
            settings.refuse("complement_map", f"sends {key!r} to {value!r}; tokens go from 0 to {vocabulary - 1}")
        found[int(key)] = value
    return found


def _check_complement(complement: torch.Tensor, checkpoint: Checkpoint) -> None:
    tokens = torch.arange(len(complement))
    if not (complement.ge(0) & complement.lt(len(complement))).all() or not torch.equal(complement[complement], tokens):
        raise TensorsError(checkpoint, "the complement map does not lead back to each token when it is taken twice")


def _layout(shape: CaduceusShape, head: CaduceusHead, words: bool) -> Layout:
    """PS holds its parts inside wrappers, and its norms too where they are not fused: names tell what was trained, so
    that a configuration which says something else is refused."""
    embedding = "word_embeddings.embedding" if shape.both_strands else "word_embeddings"
    mixer = r"mixer\.submodule" if shape.both_strands else "mixer"
    norm = r"\.submodule" if shape.both_strands and not shape.swaps else ""
    aliases = []
    if shape.both_strands:
        aliases.append((r"lm_head\.complement_map", "caduceus.backbone.embeddings.word_embeddings.complement_map"))
    if not words:
        aliases.append((r"lm_head\.(?:lm_head\.)?weight", f"caduceus.backbone.embeddings.{embedding}.weight"))
    if shape.tied_directions:
        aliases.append(
            (
                rf"{_BACKBONE}layers\.(\d+)\.({mixer})\.mamba_rev\.(in_proj|out_proj)\.(weight|bias)",
                r"\1layers.\2.\3.mamba_fwd.\4.\5",
            )
        )
    unused = {}
    if not head.outputs:
        unused[r"score\.weight"] = "head of another task"
    if words and not head.words:
        unused[r"lm_head\.(?:lm_head\.)?weight"] = "head of another task"
    return Layout(
        renames=(
            (rf"{_BACKBONE}embeddings\.{re.escape(embedding)}\.weight", "embedding.weight"),
            (rf"{_BACKBONE}embeddings\.word_embeddings\.complement_map", "complement"),
            (rf"{_BACKBONE}layers\.(\d+)\.{mixer}\.(mamba_.+)", r"layers.\2.mixer.\3"),
            (rf"{_BACKBONE}(layers\.\d+\.norm|norm_f){norm}\.(weight|bias)", r"\2.\3"),
            (r"lm_head\.lm_head\.weight", "lm_head.weight"),
        ),
        aliases=tuple(aliases),
        unused=unused,
        published=(
            (r"score\.weight", "score.weight"),
            (r"lm_head\.weight", "lm_head.lm_head.weight" if shape.both_strands else "lm_head.weight"),
        ),
        optional={"complement": "complement_map of the configuration"},
    )


FAMILY = Caduceus()
