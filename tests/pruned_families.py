"""A tiny checkpoint of each family that can be pruned."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import caduceus_checkpoint
import esm_checkpoint
import gpn_checkpoint
import hyena_checkpoint
import mxdna_checkpoint
import pytest
import striped_checkpoint
import test_family_bert
import test_family_ntv3


def _esm(folder: Path, gated: bool = False, **config: object) -> Path:
    settings = {**esm_checkpoint.ESM2, "num_hidden_layers": 3, **config}
    return esm_checkpoint.write(folder, settings, esm_checkpoint.published(settings, gated=gated))


def _bert(folder: Path, style: str, **config: Any) -> Path:
    folder.mkdir(parents=True)
    return test_family_bert.write(folder, style, **config)


def _gpn(folder: Path, **config: object) -> Path:
    settings = {**gpn_checkpoint.GPN, **config}
    return gpn_checkpoint.write(folder, settings, gpn_checkpoint.published(settings))


def _first_gpn(folder: Path) -> Path:
    return gpn_checkpoint.write(folder, gpn_checkpoint.FIRST, gpn_checkpoint.published(gpn_checkpoint.FIRST))


def _hyena(folder: Path, **config: object) -> Path:
    settings = {**hyena_checkpoint.HYENADNA, **config}
    return hyena_checkpoint.write(folder, settings, hyena_checkpoint.published(settings))


def _original_hyena(folder: Path) -> Path:
    config = hyena_checkpoint.HYENADNA
    tensors = hyena_checkpoint.original_tensors(hyena_checkpoint.published(config), inner="layer.")
    return hyena_checkpoint.write_original(folder, hyena_checkpoint.original_config(config), tensors)


def _bare_esm(folder: Path) -> Path:
    """An encoder saved without its prefix and without a head."""
    settings = {**esm_checkpoint.ESM2, "architectures": ["EsmModel"]}
    tensors = esm_checkpoint.published(settings)
    return esm_checkpoint.write(folder, settings, {name.removeprefix("esm."): each for name, each in tensors.items()})


def _parts(folder: Path) -> Path:
    """Evo 2 as one torch file, cut into byte ranges, with the states of its products in eight bits."""
    settings = striped_checkpoint.EVO2
    blobs = {f"blocks.{layer}.projections._extra_state": striped_checkpoint.blob(16.0, 8.0) for layer in range(3)}
    striped_checkpoint.write_parts(folder, settings, striped_checkpoint.published(settings), blobs, 3)
    return folder


def _caduceus(folder: Path, **config: object) -> Path:
    settings = {**caduceus_checkpoint.CADUCEUS, "n_layer": 4, **config}
    return caduceus_checkpoint.write(folder, settings, caduceus_checkpoint.published(settings))


def _msa(folder: Path, **config: object) -> Path:
    settings = {**gpn_checkpoint.MSA, "hidden_size": 32, "embedding_size": 32, "num_attention_heads": 4, **config}
    return gpn_checkpoint.write(folder, settings, gpn_checkpoint.published(settings))


def _ntv3(folder: Path, **config: object) -> Path:
    settings = {**test_family_ntv3.CONFIG, "attention_heads": 3, "num_layers": 3, "conv_init_embed_dim": 10, **config}
    return test_family_ntv3.write(folder, settings)


def _mxdna(folder: Path, **config: object) -> Path:
    settings = {**mxdna_checkpoint.CONFIG, "num_hidden_layers": 5, "conversion_layer_idx": 2, **config}
    return mxdna_checkpoint.write(folder, settings, mxdna_checkpoint.published(settings))


def _native(folder: Path, kind: str, head: str, **settings: object) -> Path:
    pytest.importorskip("transformers")
    import test_family_native

    return test_family_native.write(folder, kind, head, **settings)


_SIZES: dict[str, object] = {
    "vocab_size": 9,
    "hidden_size": 16,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "max_position_embeddings": 40,
}
_GPT2: dict[str, object] = {"vocab_size": 9, "n_embd": 16, "n_layer": 3, "n_head": 2, "n_positions": 40}
_DISTIL: dict[str, object] = {
    "vocab_size": 9,
    "dim": 16,
    "n_layers": 3,
    "n_heads": 2,
    "hidden_dim": 24,
    "max_position_embeddings": 40,
}


def _evo(folder: Path, second: bool, seed: int = 0, **config: object) -> Path:
    """Random weights may amplify rounding: with some seeds the module itself is 5e-4 from what float64 gives."""
    settings = {**(striped_checkpoint.EVO2 if second else striped_checkpoint.EVO1), **config}
    return striped_checkpoint.write(folder, settings, striped_checkpoint.published(settings, seed=seed))


FAMILIES: dict[str, Callable[[Path], Path]] = {
    "ESM-2": _esm,
    "NT v1": lambda folder: _esm(folder, vocab_size=4105, position_embedding_type="absolute", mask_token_id=2),
    "NT v2": lambda folder: _esm(folder, gated=True, vocab_size=4107, mask_token_id=2, add_bias_fnn=False),
    "DNABERT": lambda folder: _bert(folder, "behind"),
    "GENA-LM": lambda folder: _bert(folder, "first", pre_layer_norm=True, last_layer_norm=False),
    "DNABERT-2": lambda folder: _bert(folder, "mosaic"),
    "GPN": _gpn,
    "GPN depthwise": lambda folder: _gpn(folder, depthwise=True, bias=True),
    "GPN ByteNet": lambda folder: _gpn(folder, encoder="bytenet"),
    "GPN slim": lambda folder: _gpn(folder, encoder="bytenet", slim=True),
    "GPN embedded": lambda folder: _gpn(folder, embedding="embedding", mlm_head_transform=False),
    "first GPN": _first_gpn,
    "HyenaDNA": _hyena,
    "HyenaDNA tied": lambda folder: _hyena(folder, tie_word_embeddings=True),
    "HyenaDNA original": _original_hyena,
    "bare ESM-2": _bare_esm,
    "Evo 2 in parts": _parts,
    "GPN with features": lambda folder: _gpn(folder, n_aux_features=10, aux_features_vocab_size=5),
    "Caduceus Ph": _caduceus,
    "Caduceus Ph untied": lambda folder: _caduceus(folder, bidirectional_weight_tie=False),
    "Caduceus Ph LayerNorm": lambda folder: _caduceus(folder, rms_norm=False),
    "Caduceus PS": lambda folder: _caduceus(folder, rcps=True),
    "Caduceus PS unfused": lambda folder: _caduceus(folder, rcps=True, fused_add_norm=False),
    "Evo 1": lambda folder: _evo(folder, second=False),
    "Evo 2": lambda folder: _evo(folder, second=True),
    "Evo 1 with four heads": lambda folder: _evo(folder, second=False, hidden_size=32, num_attention_heads=4),
    "Evo 1 channel by channel": lambda folder: _evo(
        folder, second=False, column_split=True, column_split_hyena=False, hyena_flip_x1x2=True, tie_embeddings=False
    ),
    "Evo 2 with four heads": lambda folder: _evo(
        folder, second=True, seed=5, hidden_size=32, num_attention_heads=4, hcl_filter_groups=32, column_split=False
    ),
    "GPN-MSA": _msa,
    "GPN-MSA alone": lambda folder: _msa(folder, n_aux_features=0, rotary_value=True),
    "NTv3": _ntv3,
    "NTv3 repeating": lambda folder: _ntv3(folder, deconv_upsample_type="repeat+conv", use_skip_connection=False),
    "NTv3 with a deep head": lambda folder: _ntv3(folder, embed_dim=10, num_hidden_layers_head=2),
    "MxDNA": _mxdna,
    "MxDNA classifier": lambda folder: _mxdna(
        folder, architectures=["MxDNAForSequenceClassification"], id2label={"0": "a", "1": "b", "2": "c"}
    ),
    "native BERT": lambda folder: _native(folder, "bert", "ForMaskedLM", **_SIZES),
    "native words": lambda folder: _native(
        folder, "bert", "ForMaskedLM", **{**_SIZES, "vocab_size": 69, "max_position_embeddings": 200}
    ),
    "native DistilBERT": lambda folder: _native(folder, "distilbert", "ForTokenClassification", **_DISTIL),
    "native GPT-2": lambda folder: _native(folder, "gpt2", "ForCausalLM", **_GPT2, bos_token_id=2, eos_token_id=3),
    "native Llama": lambda folder: _native(folder, "llama", "ForCausalLM", **_SIZES, num_key_value_heads=1),
    "native ModernBERT": lambda folder: _native(
        folder, "modernbert", "ForMaskedLM", **{**_SIZES, "num_hidden_layers": 5}, pad_token_id=0
    ),
}
"""Name → what writes it into a folder."""
