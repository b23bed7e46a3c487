"""Seconds and peak memory of exporting a checkpoint of 50 million parameters, and whether that is little enough.

    python benchmarks/export_cost.py [--layers 12] [--rounds 1]

The checkpoint has the shape and the published layout of Nucleotide Transformer v2 50M, and random weights. It is
exported by the command that a user types, in a process of its own: weights read and checked, graph made, graph and
module compared at several lengths up to the longest, bundle written and read again.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from itertools import product
from pathlib import Path

import torch
from safetensors.torch import save_file

from benchmarks.process import measure

MOST_SECONDS, MOST_BYTES = 180.0, 4e9
WIDTH, INNER, HEADS = 512, 2048, 16
SPECIALS = ("<unk>", "<pad>", "<mask>", "<cls>", "<eos>", "<bos>")
LETTERS = ("A", "T", "C", "G", "N")


def write_checkpoint(folder: Path, layers: int) -> int:
    """How many parameters the checkpoint has that is written to ``folder``."""
    words = [*SPECIALS, *map("".join, product("ATCG", repeat=6)), *LETTERS]
    config = {
        "architectures": ["EsmForMaskedLM"],
        "add_bias_fnn": False,
        "emb_layer_norm_before": False,
        "hidden_size": WIDTH,
        "intermediate_size": INNER,
        "layer_norm_eps": 1e-12,
        "mask_token_id": 2,
        "max_position_embeddings": 2050,
        "num_attention_heads": HEADS,
        "num_hidden_layers": layers,
        "pad_token_id": 1,
        "position_embedding_type": "rotary",
        "tie_word_embeddings": False,
        "token_dropout": False,
        "vocab_size": len(words),
    }
    tokenizer = {"model_max_length": 2048, "tokenizer_class": "EsmTokenizer", "eos_token": None}
    tokenizer |= {f"{each}_token": f"<{each}>" for each in ("unk", "pad", "mask", "cls")}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer), encoding="utf-8")
    (folder / "vocab.txt").write_text("\n".join(words), encoding="utf-8")
    tensors = _tensors(layers, len(words))
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    return sum(tensor.numel() for tensor in tensors.values())


def _tensors(layers: int, vocabulary: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    tensors: dict[str, torch.Tensor] = {}

    def linear(name: str, rows: int, columns: int, *, bias: bool = True) -> None:
        tensors[f"{name}.weight"] = torch.randn(rows, columns, generator=generator) * columns**-0.5
        if bias:
            tensors[f"{name}.bias"] = torch.randn(rows, generator=generator) * 0.02

    def norm(name: str) -> None:
        tensors[f"{name}.weight"] = 1 + torch.randn(WIDTH, generator=generator) * 0.02
        tensors[f"{name}.bias"] = torch.randn(WIDTH, generator=generator) * 0.02

    linear("esm.embeddings.word_embeddings", vocabulary, WIDTH, bias=False)
    for number in range(layers):
        block = f"esm.encoder.layer.{number}"
        norm(f"{block}.attention.LayerNorm")
        for part in ("self.query", "self.key", "self.value", "output.dense"):
            linear(f"{block}.attention.{part}", WIDTH, WIDTH)
        norm(f"{block}.LayerNorm")
        linear(f"{block}.intermediate.dense", 2 * INNER, WIDTH, bias=False)
        linear(f"{block}.output.dense", WIDTH, INNER, bias=False)
    norm("esm.encoder.emb_layer_norm_after")
    linear("lm_head.dense", WIDTH, WIDTH)
    norm("lm_head.layer_norm")
    linear("lm_head.decoder", vocabulary, WIDTH, bias=False)
    tensors["lm_head.bias"] = torch.zeros(vocabulary)
    return tensors


def main() -> int:
    """0 if every export stayed below both limits."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=1)
    options = parser.parse_args()
    fine = True
    with tempfile.TemporaryDirectory(prefix="edgeseq-bench-") as name:
        folder = Path(name, "nt-v2-50m")
        folder.mkdir()
        parameters = write_checkpoint(folder, options.layers)
        bundle = Path(name, "nt.edgeseq")
        for _ in range(options.rounds):
            run = measure([sys.executable, "-m", "export", folder, "-o", bundle])
            fine &= run.seconds < MOST_SECONDS and run.peak_bytes < MOST_BYTES
            print(
                f"{parameters / 1e6:.1f} million parameters: {run.seconds:.0f} s ({run.cpu_seconds:.0f} s of processor "
                f"time), peak {run.peak_bytes / 1e9:.2f} GB, bundle {bundle.stat().st_size / 1e6:.0f} MB"
            )
    print(f"below {MOST_SECONDS:.0f} s and {MOST_BYTES / 1e9:.0f} GB: {'yes' if fine else 'NO'}")
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())
