"""What cuts save: the table of speeds in docs/prune.md.

    python benchmarks/cuts.py SEQUENCES [--only NAME …]

Checkpoints of published layouts with random weights, of a size that is timed in minutes, are pruned as the command
`python -m export prune` does it, with sequences such as those of human_nontata_promoters. Each row has the parameters,
the median processor time of one row on one thread, and the median ratio of 48 pairs with its 95 % interval. What the
cuts cost means nothing for random weights. The layouts are written by the modules beside the tests.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from export.network import Request
from export.pruning.prune import Cuts, Material, prune

TESTS = Path(__file__).resolve().parent.parent / "tests"
ROWS = 32


@dataclass(frozen=True, slots=True)
class Case:
    """A checkpoint: what writes it, the template of its configuration there, and what differs; and cuts of it."""

    writer: str
    template: str
    settings: Mapping[str, Any]
    cuts: tuple[Mapping[str, float], ...]
    options: Mapping[str, Any]
    """Of the writer's tensors."""

    def write(self, folder: Path) -> Path:
        """The checkpoint in ``folder``."""
        module = import_module(self.writer)
        config = {**getattr(module, self.template), **self.settings}
        module.write(folder, config, module.published(config, **self.options))
        return folder


CASES: Mapping[str, Case] = {
    "NT v2, width 512, 4 layers": Case(
        "esm_checkpoint",
        "ESM2",
        {
            "hidden_size": 512,
            "num_attention_heads": 16,
            "num_hidden_layers": 4,
            "intermediate_size": 2048,
            "vocab_size": 4107,
            "max_position_embeddings": 2050,
            "mask_token_id": 2,
            "token_dropout": False,
            "add_bias_fnn": False,
        },
        ({"ffn": 0.3}, {"width": 0.25}),
        {"gated": True},
    ),
    "GPN ConvNet, width 256, 8 layers": Case(
        "gpn_checkpoint",
        "GPN",
        {"hidden_size": 256, "intermediate_size": 1024, "num_hidden_layers": 8, "dilation_cycle": 6},
        ({"ffn": 0.3}, {"channels": 0.3}),
        {},
    ),
    "HyenaDNA tiny-1k (width 128, 2 layers)": Case(
        "hyena_checkpoint",
        "HYENADNA",
        {"d_model": 128, "d_inner": 512, "n_layer": 2, "filter_order": 64, "max_seq_len": 1026},
        ({"ffn": 0.3}, {"channels": 0.3}),
        {},
    ),
    "NTv3, widths 128 to 256, 4 layers": Case(
        "test_family_ntv3",
        "CONFIG",
        {
            "num_downsamples": 7,
            "attention_heads": 8,
            "key_size": 32,
            "token_embed_dim": 16,
            "conv_init_embed_dim": 128,
            "embed_dim": 256,
            "ffn_embed_dim": 1024,
            "num_layers": 4,
        },
        ({"width": 0.25},),
        {},
    ),
    "Evo 1, width 512, 4 layers": Case(
        "striped_checkpoint",
        "EVO1",
        {
            "hidden_size": 512,
            "num_attention_heads": 8,
            "inner_mlp_size": 1376,
            "num_layers": 4,
            "hyena_layer_idxs": [0, 2, 3],
            "state_size": 8,
            "max_seqlen": 1024,
        },
        ({"width": 0.25},),
        {},
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sequences", type=Path)
    parser.add_argument("--only", nargs="+", default=[], help="beginnings of names")
    given = parser.parse_args()
    sys.path.insert(0, str(TESTS))
    print("| checkpoint | cut | parameters | ms | times as fast | verdict |\n|---|---|---|---|---|---|", flush=True)
    for name, case in CASES.items():
        if given.only and not name.startswith(tuple(given.only)):
            continue
        with tempfile.TemporaryDirectory() as scratch:
            folder = case.write(Path(scratch) / "whole")
            for number, shares in enumerate(case.cuts):
                material = Material(given.sequences, rows=ROWS)
                report = prune(folder, Path(scratch) / f"cut{number}", Request(), Cuts(shares), material)
                print(row(name, shares, report), flush=True)


def row(name: str, shares: Mapping[str, float], report: Mapping[str, Any]) -> str:
    """One line of the table."""
    size, speed = report["size"], report["speed"]
    low, high = speed["ratio_95"]
    cells = (
        f"{name}, {speed['tokens']} tokens",
        " ".join(f"`--{kind} {share:g}`" for kind, share in shares.items()),
        f"{size['parameters_before'] / 1e6:.2f} → {size['parameters_after'] / 1e6:.2f} M",
        f"{speed['before_ms']:.1f} → {speed['after_ms']:.1f}",
        f"{speed['ratio']:.2f} ({low:.2f} to {high:.2f})",
        speed["verdict"],
    )
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
