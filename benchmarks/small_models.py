"""One small model of each kind of tokenizer: checkpoints in the published layouts, trained through their families.

A model starts as a folder with configuration, tokenizer and random weights as its family publishes them, is read by
`export.families`, trained with AdamW on labelled rows, and written back to such a folder: what the commands get is a
checkpoint like any other.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from edgeseq.tokenizers import load_tokenizer
from export.checkpoint import open_checkpoint
from export.families import find
from export.network import Model, Request
from export.networks.hyenadna import HyenaNetwork
from export.pruning.files import folder_for, write_checkpoint
from export.pruning.objective import labelled_loss
from export.pruning.recover import is_known, published_tensors
from export.pruning.rows import Row, batches, inputs_of

WIDTH, HEADS = 64, 4
BATCH = 32
WARMING = 0.05
PATIENCE = 6
WORDS = 1024
"""Of the learned vocabulary."""
LONGEST = 128
"""Tokens of a row of learned words or of words side by side: some 600 bases."""
_SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
_NT_SPECIAL = ("<unk>", "<pad>", "<mask>", "<cls>", "<eos>", "<bos>")
_WORDS = tuple(map("".join, product("ATCG", repeat=6)))

Shapes = dict[str, tuple[int, ...]]
Tensors = dict[str, torch.Tensor]


@dataclass(frozen=True, slots=True)
class Kind:
    """A family, its tokens, the configuration of the small model, and what its files and weights start as.

    ``cuts``: name → what ``export prune`` removes (kind of unit → share). ``longest``: ``--max-length``, where the
    family does not know it.
    """

    name: str
    tokens: str
    config: Mapping[str, Any]
    shapes: Callable[[Mapping[str, Any]], Shapes]
    files: Callable[[Sequence[bytes]], dict[str, str]]
    cuts: Mapping[str, Mapping[str, float]]
    steps: int
    rate: float = 1e-3
    longest: int | None = None
    fixed: Callable[[Mapping[str, Any]], Tensors] = lambda _: {}


@dataclass(frozen=True, slots=True)
class Course:
    """How long and how a model is trained; ``seconds`` end it as surely as ``steps`` do, but not at the same step each
    time."""

    steps: int
    seconds: float
    rate: float
    seed: int = 1


@dataclass(frozen=True, slots=True)
class Trained:
    """What a course did: the loss on validation rows before and at best, and where that was."""

    before: float
    best: float
    best_step: int
    steps: int
    seconds: float
    stopped: str
    parameters: int
    embeddings: int


def start(kind: Kind, folder: Path, labels: Sequence[str], sequences: Sequence[bytes], seed: int) -> Path:
    """A folder with random weights and the files of the family; learned words come from ``sequences``."""
    generator = torch.Generator().manual_seed(seed)
    names = {"id2label": dict(enumerate(labels)), "label2id": {each: at for at, each in enumerate(labels)}}
    config = {**kind.config, **names}
    tensors = {name: _drawn(name, shape, generator) for name, shape in kind.shapes(config).items()} | kind.fixed(config)
    from safetensors.torch import save_file

    with folder_for(folder) as partial:
        for name, text in kind.files(sequences).items():
            (partial / name).write_text(text, encoding="utf-8")
        (partial / "config.json").write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")
        save_file(tensors, partial / "model.safetensors", metadata={"format": "pt"})
    return folder


def _drawn(name: str, shape: tuple[int, ...], generator: torch.Generator) -> torch.Tensor:
    """Norms begin at 1, biases at 0, tables and layers at normal draws of variance 1 / inputs."""
    if len(shape) == 1:
        return torch.ones(shape) if name.endswith("weight") else torch.zeros(shape)
    inputs = WIDTH if "embedding" in name else math.prod(shape[1:])
    return torch.randn(shape, generator=generator) / math.sqrt(inputs)


def read(folder: Path, kind: Kind) -> Model:
    """The checkpoint as its family reads it."""
    checkpoint = open_checkpoint(folder)
    model = find(checkpoint).read(checkpoint, Request(max_length=kind.longest))
    model.network.eval()
    return model


def rows_of(model: Model, sequences: Sequence[bytes], labels: Sequence[int]) -> list[Row]:
    """Rows of ids with their classes."""
    tokenizer = load_tokenizer(model.tokenizer)
    return [
        Row(tokenizer.encode(text)[: model.max_length].astype(np.int64), float(label))
        for text, label in zip(sequences, labels, strict=True)
    ]


def train(
    kind: Kind,
    source: Path,
    output: Path,
    training: Sequence[Row],
    watched: Sequence[Row],
    course: Course,
    progress: Callable[[str], None] = lambda _: None,
) -> Trained:
    """Trains the checkpoint at ``source`` and writes the weights that were best on the watched rows to ``output``."""
    checkpoint, model = open_checkpoint(source), read(source, kind)
    if isinstance(model.network, HyenaNetwork):
        model.network.unfold()
    parameters = dict(model.network.named_parameters())
    trained = {own: value for own, value in parameters.items() if is_known(model, own)}
    torch.manual_seed(course.seed)
    optimizer = torch.optim.AdamW(trained.values(), lr=course.rate, weight_decay=0.05)
    before = best = _loss_of(model, watched)
    kept, best_step, worse, step, epoch, stopped = published_tensors(model, trained), 0, 0, 0, 0, ""
    interval = max(10, min(course.steps // 20, len(training) // (2 * BATCH)))
    began = time.monotonic()
    while not stopped:
        for batch in batches(training, BATCH, seed=course.seed + epoch):
            gone = max(step / course.steps, (time.monotonic() - began) / course.seconds)
            if gone >= 1:
                stopped = "steps" if step >= course.steps else "seconds"
                break
            for group in optimizer.param_groups:
                group["lr"] = course.rate * min(1.0, (gone + 1e-3) / WARMING) * (1 + math.cos(math.pi * gone)) / 2
            optimizer.zero_grad(set_to_none=True)
            labelled_loss(model.network(*inputs_of(model, batch))["logits"], batch).backward()
            torch.nn.utils.clip_grad_norm_(trained.values(), 1.0)
            optimizer.step()
            step += 1
            if step % interval == 0:
                now = _loss_of(model, watched)
                progress(f"step {step}, {time.monotonic() - began:.0f} s: validation loss {now:.4f}")
                worse = 0 if now < best else worse + 1
                if now < best:
                    best, best_step, kept = now, step, published_tensors(model, trained)
                if worse == PATIENCE and best_step:
                    stopped = "early"
                    break
        epoch += 1
    tensors = {name: kept.get(name, value) for name, value in checkpoint.tensors.items()}
    found = Trained(
        before,
        best,
        best_step,
        step,
        time.monotonic() - began,
        stopped,
        sum(value.numel() for value in parameters.values()),
        sum(value.numel() for own, value in parameters.items() if own.split(".")[0] in _TABLES),
    )
    with folder_for(output) as folder:
        write_checkpoint(folder, checkpoint, checkpoint.config, tensors, {})
        (folder / "training.json").write_text(json.dumps(asdict(found), indent=1) + "\n", encoding="utf-8")
    return found


_TABLES = ("words", "positions", "types", "embeddings", "embedding")


def _loss_of(model: Model, rows: Sequence[Row]) -> float:
    total = 0.0
    with torch.no_grad():
        for batch in batches(rows, 4 * BATCH):
            logits = model.network(*inputs_of(model, batch))["logits"]
            total += float(labelled_loss(logits, batch)) * len(batch)
    return total / len(rows)


def pooled(model: Model, rows: Sequence[Row]) -> NDArray[np.float32]:
    """Mean and largest value of each channel of the last hidden state, float32 (rows, 2 × width), in order."""
    place = {id(row): at for at, row in enumerate(rows)}
    found: list[tuple[int, torch.Tensor]] = []
    with torch.no_grad():
        for batch in batches(rows, 2 * BATCH):
            hidden = model.network(*inputs_of(model, batch))["last_hidden_state"]
            both = torch.cat((hidden.mean(dim=1), hidden.amax(dim=1)), dim=1)
            found += [(place[id(row)], value) for row, value in zip(batch, both, strict=True)]
    return np.stack([value.numpy() for _, value in sorted(found, key=lambda each: each[0])])


def _linear(shapes: Shapes, name: str, outputs: int, inputs: int, *, bias: bool = True) -> None:
    shapes[f"{name}.weight"] = (outputs, inputs)
    if bias:
        shapes[f"{name}.bias"] = (outputs,)


def _norm(shapes: Shapes, name: str, width: int, *, bias: bool = True) -> None:
    shapes[f"{name}.weight"] = (width,)
    if bias:
        shapes[f"{name}.bias"] = (width,)


def _gpn(config: Mapping[str, Any]) -> Shapes:
    width, inner, found = config["hidden_size"], config["intermediate_size"], Shapes()
    for layer in range(config["num_hidden_layers"]):
        at = f"model.encoder.layer.{layer}."
        taps = config["rest_kernel_size" if layer else "first_kernel_size"]
        _norm(found, f"{at}conv.0", width, bias=False)
        found[f"{at}conv.2.weight"] = (width, width, taps)
        _linear(found, f"{at}conv.5", width, width, bias=False)
        _norm(found, f"{at}ffn.0", width, bias=False)
        _linear(found, f"{at}ffn.1", inner, width, bias=False)
        _linear(found, f"{at}ffn.3", width, inner, bias=False)
    _norm(found, "model.ln_f", width, bias=False)
    _norm(found, "classifier.ln", width, bias=False)
    _linear(found, "classifier.dense", width, width, bias=False)
    _linear(found, "classifier.out_proj", len(config["id2label"]), width, bias=False)
    return found


def _hyena(config: Mapping[str, Any]) -> Shapes:
    width, wide, found = config["d_model"], config["filter_order"], Shapes()
    found["hyena.backbone.embeddings.word_embeddings.weight"] = (16, width)
    _norm(found, "hyena.backbone.ln_f", width)
    for layer in range(config["n_layer"]):
        at = f"hyena.backbone.layers.{layer}."
        _norm(found, f"{at}norm1", width)
        _norm(found, f"{at}norm2", width)
        _linear(found, f"{at}mixer.in_proj", 3 * width, width)
        _linear(found, f"{at}mixer.out_proj", width, width)
        found |= {f"{at}mixer.short_filter.weight": (3 * width, 1, 3), f"{at}mixer.short_filter.bias": (3 * width,)}
        _linear(found, f"{at}mlp.fc1", config["d_inner"], width)
        _linear(found, f"{at}mlp.fc2", width, config["d_inner"])
        taps = f"{at}mixer.filter_fn."
        found[f"{taps}bias"] = (width,)
        for number in range(config["num_inner_mlps"] + 1):
            _linear(found, f"{taps}implicit_filter.{2 * number}", wide, wide if number else config["emb_dim"])
        found[f"{taps}implicit_filter.{2 * config['num_inner_mlps'] + 2}.weight"] = (width, wide)
    _linear(found, "score", len(config["id2label"]), width, bias=False)
    return found


def _hyena_fixed(config: Mapping[str, Any]) -> Tensors:
    """Positions, fading and frequencies as the paper begins with."""
    length, bands, found = config["max_seq_len"], (config["emb_dim"] - 1) // 2, Tensors()
    times = torch.linspace(0, 1, length)
    angles = 2 * math.pi * torch.arange(length)[:, None] / length * torch.linspace(1e-4, bands - 1, bands)
    z = torch.cat((times[:, None], angles.cos(), -angles.sin()), dim=1)
    fading = torch.linspace(math.log(1e-2) / 1.5, math.log(1e-2) / 0.3, config["d_model"])
    for layer in range(config["n_layer"]):
        taps = f"hyena.backbone.layers.{layer}.mixer.filter_fn."
        found |= {
            f"{taps}pos_emb.z": z[None].clone(),
            f"{taps}pos_emb.t": times[None, :, None].clone(),
            f"{taps}modulation.deltas": fading[None, None].clone(),
            f"{taps}implicit_filter.1.freq": torch.full((1, config["filter_order"]), float(config["activation_freq"])),
        }
    return found


def _bert_frame(config: Mapping[str, Any]) -> Shapes:
    width, found = config["hidden_size"], Shapes()
    found["bert.embeddings.word_embeddings.weight"] = (config["vocab_size"], width)
    found["bert.embeddings.token_type_embeddings.weight"] = (2, width)
    _norm(found, "bert.embeddings.LayerNorm", width)
    _linear(found, "bert.pooler.dense", width, width)
    _linear(found, "classifier", len(config["id2label"]), width)
    return found


def _bert(config: Mapping[str, Any]) -> Shapes:
    width, inner, found = config["hidden_size"], config["intermediate_size"], _bert_frame(config)
    found["bert.embeddings.position_embeddings.weight"] = (config["max_position_embeddings"], width)
    for layer in range(config["num_hidden_layers"]):
        at = f"bert.encoder.layer.{layer}."
        for part in ("query", "key", "value"):
            _linear(found, f"{at}attention.self.{part}", width, width)
        _linear(found, f"{at}attention.output.dense", width, width)
        _norm(found, f"{at}attention.output.LayerNorm", width)
        _linear(found, f"{at}intermediate.dense", inner, width)
        _linear(found, f"{at}output.dense", width, inner)
        _norm(found, f"{at}output.LayerNorm", width)
    return found


def _mosaic(config: Mapping[str, Any]) -> Shapes:
    width, inner, found = config["hidden_size"], config["intermediate_size"], _bert_frame(config)
    for layer in range(config["num_hidden_layers"]):
        at = f"bert.encoder.layer.{layer}."
        _linear(found, f"{at}attention.self.Wqkv", 3 * width, width)
        _linear(found, f"{at}attention.output.dense", width, width)
        _norm(found, f"{at}attention.output.LayerNorm", width)
        _linear(found, f"{at}mlp.gated_layers", 2 * inner, width, bias=False)
        _linear(found, f"{at}mlp.wo", width, inner)
        _norm(found, f"{at}mlp.layernorm", width)
    return found


def _nt(config: Mapping[str, Any]) -> Shapes:
    width, inner, found = config["hidden_size"], config["intermediate_size"], Shapes()
    found["esm.embeddings.word_embeddings.weight"] = (config["vocab_size"], width)
    _norm(found, "esm.encoder.emb_layer_norm_after", width)
    for layer in range(config["num_hidden_layers"]):
        at = f"esm.encoder.layer.{layer}."
        for part in ("query", "key", "value"):
            _linear(found, f"{at}attention.self.{part}", width, width)
        _linear(found, f"{at}attention.output.dense", width, width)
        _norm(found, f"{at}attention.LayerNorm", width)
        _linear(found, f"{at}intermediate.dense", 2 * inner, width, bias=False)
        _linear(found, f"{at}output.dense", width, inner, bias=False)
        _norm(found, f"{at}LayerNorm", width)
    _linear(found, "classifier.dense", width, width)
    _linear(found, "classifier.out_proj", len(config["id2label"]), width)
    return found


def _tokenizer_config(name: str, **more: Any) -> str:
    return json.dumps({"tokenizer_class": name, **more}) + "\n"


def _gpn_files(_: Sequence[bytes]) -> dict[str, str]:
    """None: the model type says what the tokens are."""
    return {}


def _hyena_files(_: Sequence[bytes]) -> dict[str, str]:
    return {"tokenizer_config.json": _tokenizer_config("HyenaDNATokenizer", padding_side="left")}


def _bert_files(_: Sequence[bytes]) -> dict[str, str]:
    return {
        "vocab.txt": "\n".join((*_SPECIAL, *_WORDS)) + "\n",
        "tokenizer_config.json": _tokenizer_config("BertTokenizer", do_lower_case=True),
    }


def _nt_files(_: Sequence[bytes]) -> dict[str, str]:
    return {
        "vocab.txt": "\n".join((*_NT_SPECIAL, *_WORDS, *"ATCGN")) + "\n",
        "tokenizer_config.json": _tokenizer_config("EsmTokenizer", eos_token=None),
    }


def _learned_files(sequences: Sequence[bytes]) -> dict[str, str]:
    """Byte pair encoding learned on the sequences, with DNABERT-2's special tokens and steps."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers

    special = ["[UNK]", "[CLS]", "[SEP]", "[PAD]", "[MASK]"]
    learned = Tokenizer(models.BPE(unk_token="[UNK]"))
    learned.pre_tokenizer = pre_tokenizers.Whitespace()
    trainer = trainers.BpeTrainer(
        vocab_size=WORDS, special_tokens=special, initial_alphabet=list("ACGTN"), show_progress=False
    )
    learned.train_from_iterator([each.decode("ascii") for each in sequences], trainer)
    learned.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    roles = {f"{name}_token": f"[{name.upper()}]" for name in ("unk", "cls", "sep", "pad", "mask")}
    return {
        "tokenizer.json": learned.to_str(pretty=True),
        "tokenizer_config.json": _tokenizer_config("PreTrainedTokenizerFast", **roles),
    }


_FFN = {"ffn": {"ffn": 0.3}}
_CHANNELS = {"channels": {"channels": 0.3}}
_TRANSFORMER = {
    "hidden_size": WIDTH,
    "num_attention_heads": HEADS,
    "num_hidden_layers": 2,
    "intermediate_size": 4 * WIDTH,
    "layer_norm_eps": 1e-12,
}
KINDS = {
    kind.name: kind
    for kind in (
        Kind(
            "gpn",
            "single bases (convolution, GPN)",
            {
                "architectures": ["GPNForSequenceClassification"],
                "model_type": "GPN",
                "vocab_size": 7,
                "hidden_size": WIDTH,
                "intermediate_size": 2 * WIDTH,
                "num_hidden_layers": 4,
                "encoder": "convnet",
                "bias": False,
                "first_kernel_size": 9,
                "rest_kernel_size": 5,
                "dilation_base": 2,
                "dilation_cycle": 4,
                "dilation_double_every": 1,
                "dilation_max": 9999,
                "depthwise": False,
                "slim": False,
                "embedding": "one_hot",
                "classification_head": "standard",
                "hidden_act": "gelu",
            },
            _gpn,
            _gpn_files,
            cuts=_FFN | _CHANNELS,
            steps=800,
        ),
        Kind(
            "hyena",
            "single bases (long convolution, HyenaDNA)",
            {
                "architectures": ["HyenaDNAForSequenceClassification"],
                "model_type": "hyenadna",
                "activation_freq": 10,
                "d_model": WIDTH,
                "d_inner": 4 * WIDTH,
                "emb_dim": 5,
                "filter_order": 64,
                "hyena_order": 2,
                "layer_norm_epsilon": 1e-5,
                "max_seq_len": 514,
                "n_layer": 2,
                "num_inner_mlps": 2,
                "pad_token_id": 4,
                "pad_vocab_size_multiple": 8,
                "short_filter_order": 3,
                "tie_word_embeddings": False,
                "train_freq": True,
                "use_bias": True,
                "vocab_size": 12,
            },
            _hyena,
            _hyena_files,
            cuts=_FFN,
            steps=500,
            fixed=_hyena_fixed,
        ),
        Kind(
            "dnabert",
            "6-mers, overlapping (DNABERT)",
            {
                **_TRANSFORMER,
                "architectures": ["BertForSequenceClassification"],
                "model_type": "bert",
                "hidden_act": "gelu",
                "max_position_embeddings": 512,
                "type_vocab_size": 2,
                "vocab_size": len(_SPECIAL) + len(_WORDS),
                "pad_token_id": 0,
            },
            _bert,
            _bert_files,
            cuts=_FFN,
            steps=500,
        ),
        Kind(
            "nt",
            "6-mers, side by side (NT v2)",
            {
                **_TRANSFORMER,
                "architectures": ["EsmForSequenceClassification"],
                "add_bias_fnn": False,
                "emb_layer_norm_before": False,
                "mask_token_id": 2,
                "max_position_embeddings": LONGEST + 2,
                "pad_token_id": 1,
                "position_embedding_type": "rotary",
                "tie_word_embeddings": False,
                "token_dropout": False,
                "vocab_size": len(_NT_SPECIAL) + len(_WORDS) + 5,
            },
            _nt,
            _nt_files,
            cuts=_FFN,
            steps=2500,
        ),
        Kind(
            "dnabert2",
            "learned words (BPE, DNABERT-2)",
            {
                **_TRANSFORMER,
                "architectures": ["BertForSequenceClassification"],
                "hidden_act": "gelu",
                "max_position_embeddings": 512,
                "position_embedding_type": "absolute",
                "type_vocab_size": 2,
                "vocab_size": WORDS,
            },
            _mosaic,
            _learned_files,
            cuts=_FFN,
            steps=2500,
            longest=LONGEST,
        ),
    )
}
"""By name, in the order of the tables."""
