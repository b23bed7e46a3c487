"""Surgery on checkpoints: what is cut computes what the whole model does without the same parts."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from pruned_families import FAMILIES
from torch import nn
from torch.nn import functional

from export.checkpoint import Checkpoint, open_checkpoint
from export.errors import FamilyError
from export.families import find
from export.network import Model, Outputs, Request
from export.networks.striped_hyena import StripedNetwork
from export.operators.norm import RmsNorm
from export.parity import compare, feed
from export.pruning import ANATOMIES, anatomy_of
from export.pruning.files import write_checkpoint
from export.pruning.prune import cut_kind
from export.pruning.rows import Row
from export.pruning.scores import entry_scores
from export.rows import batch_for
from export.tracing import trace
from quantize.prune.anatomy import Anatomy, Kind
from quantize.prune.choice import choose_layers, choose_units
from quantize.prune.cut import drop_layers, kept_of, removed_entries, silence
from quantize.prune.errors import PruneError

EXACT = {
    "ESM-2": ("ffn", "heads"),
    "NT v1": ("ffn", "heads"),
    "NT v2": ("ffn", "heads"),
    "DNABERT": ("ffn", "heads"),
    "GENA-LM": ("ffn", "heads"),
    "DNABERT-2": ("ffn",),
    "GPN": ("ffn",),
    "GPN depthwise": ("ffn",),
    "HyenaDNA": ("ffn",),
    "HyenaDNA original": ("ffn",),
    "bare ESM-2": ("ffn", "heads"),
    "Evo 2 in parts": ("ffn",),
    "Caduceus Ph": ("channels", "states", "width"),
    "Caduceus Ph untied": ("channels", "states", "width"),
    "Caduceus PS": ("channels", "states", "width"),
    "Caduceus PS unfused": ("channels", "states", "width"),
    "Evo 1": ("ffn", "width"),
    "Evo 1 with four heads": ("width",),
    "Evo 1 channel by channel": ("width",),
    "Evo 2": ("ffn", "width"),
    "Evo 2 with four heads": ("width",),
    "GPN-MSA": ("ffn",),
    "NTv3": ("ffn", "heads"),
    "MxDNA": ("ffn",),
    "MxDNA classifier": ("ffn",),
    "native BERT": ("ffn",),
    "native DistilBERT": ("ffn",),
    "native GPT-2": ("ffn",),
    "native Llama": ("ffn",),
}
"""Kinds whose removal changes nothing but what the removed units did."""
NORMED = {
    "GPN": "channels",
    "GPN depthwise": "channels",
    "GPN ByteNet": "channels",
    "GPN slim": "channels",
    "GPN embedded": "channels",
    "first GPN": "channels",
    "HyenaDNA": "channels",
    "HyenaDNA tied": "channels",
    "HyenaDNA original": "channels",
    "GPN with features": "channels",
    "Caduceus Ph LayerNorm": "width",
    "ESM-2": "width",
    "NT v1": "width",
    "DNABERT": "width",
    "GENA-LM": "width",
    "GPN-MSA": "width",
    "GPN-MSA alone": "width",
    "NTv3": "width",
    "NTv3 repeating": "width",
    "NTv3 with a deep head": "width",
}
"""Kinds whose units norms are taken over."""


def opened(folder: Path) -> tuple[Checkpoint, Model, Anatomy]:
    checkpoint = open_checkpoint(folder)
    family = find(checkpoint)
    model = family.read(checkpoint, Request())
    model.network.eval()
    return checkpoint, model, anatomy_of(family, checkpoint, model)


def chosen(kind: Kind, share: float = 0.4) -> list[list[int]]:
    """Units to remove, by scores drawn at random: not the first ones, and not the same in each part."""
    generator = torch.Generator().manual_seed(3)
    scores = [torch.rand(units.count, generator=generator, dtype=torch.float64) for units in kind.units]
    return choose_units(kind, scores, share)


def logits(model: Model, tokens: int = 21) -> torch.Tensor:
    inputs = feed(model, *batch_for(model, (min(tokens, model.max_length),) * 2))
    with torch.inference_mode():
        outputs: Outputs = model.network(*(torch.from_numpy(inputs[one.name]) for one in model.network.inputs))
    return outputs["logits" if model.task != "embedding" else "last_hidden_state"]


def pruned(folder: Path, checkpoint: Checkpoint, kind: Kind, removed: list[list[int]]) -> Model:
    config = copy.deepcopy(dict(checkpoint.config))
    tensors = cut_kind(checkpoint.tensors, config, kind, removed)
    folder.mkdir()
    write_checkpoint(folder, checkpoint, config, tensors, {})
    return opened(folder)[1]


def silenced(folder: Path, checkpoint: Checkpoint, kind: Kind, removed: list[list[int]]) -> Model:
    entries = removed_entries(kind.units, removed)
    tensors = silence(checkpoint.tensors, {key: each for key, each in entries.items() if not key[0].endswith(".poles")})
    folder.mkdir()
    write_checkpoint(folder, checkpoint, checkpoint.config, tensors, {})
    return opened(folder)[1]


@pytest.mark.parametrize(("name", "kind_name"), [(name, kind) for name, kinds in EXACT.items() for kind in kinds])
def test_a_cut_gives_what_zeros_in_its_place_give(tmp_path: Path, name: str, kind_name: str) -> None:
    checkpoint, _, anatomy = opened(FAMILIES[name](tmp_path / "whole"))
    kind = anatomy.kind(kind_name)
    assert kind is not None
    assert kind.exact
    removed = chosen(kind)
    small = pruned(tmp_path / "small", checkpoint, kind, removed)
    quiet = silenced(tmp_path / "quiet", checkpoint, kind, removed)
    assert sum(each.numel() for each in small.network.parameters()) < sum(
        each.numel() for each in quiet.network.parameters()
    )
    wanted = logits(quiet)
    assert wanted.std() > 0.01
    torch.testing.assert_close(logits(small), wanted, rtol=1e-4, atol=2e-5)


@pytest.mark.parametrize(("name", "kind_name"), list(NORMED.items()))
def test_norms_are_taken_over_the_channels_that_are_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, kind_name: str
) -> None:
    checkpoint, _, anatomy = opened(FAMILIES[name](tmp_path / "whole"))
    kind = anatomy.kind(kind_name)
    assert kind is not None
    assert not kind.exact
    assert "norms" in kind.note
    removed = chosen(kind, {"GPN slim": 0.5, "GPN with features": 0.25, "GPN-MSA": 0.25}.get(name, 0.4))
    small = logits(pruned(tmp_path / "small", checkpoint, kind, removed))
    quiet = silenced(tmp_path / "quiet", checkpoint, kind, removed)
    assert (logits(quiet) - small).abs().max() > 1e-3  # zeros alone are not the same

    def over_the_rest(self: nn.LayerNorm, x: torch.Tensor) -> torch.Tensor:
        left = self.weight != 0
        bias: torch.Tensor | None = getattr(self, "bias", None)
        found = torch.zeros_like(x)
        found[..., left] = functional.layer_norm(
            x[..., left], (int(left.sum()),), self.weight[left], None if bias is None else bias[left], self.eps
        )
        return found

    monkeypatch.setattr(nn.LayerNorm, "forward", over_the_rest)
    torch.testing.assert_close(small, logits(quiet), rtol=1e-4, atol=2e-5)


@pytest.mark.parametrize(
    ("name", "stack", "removed"),
    [
        ("ESM-2", "blocks", [1]),
        ("NT v2", "blocks", [0, 2]),
        ("DNABERT", "layers", [0]),
        ("GENA-LM", "layers", [1]),
        ("DNABERT-2", "layers", [0]),
        ("GPN", "layers", [2]),
        ("first GPN", "layers", [2]),
        ("HyenaDNA", "layers", [0]),
        ("Caduceus Ph", "layers", [1, 2]),
        ("Caduceus PS", "layers", [1, 2]),
        ("Caduceus PS unfused", "layers", [2]),
        ("Evo 1", "blocks", [1]),
        ("Evo 2", "blocks", [1, 3]),
        ("GPN-MSA", "blocks", [1]),
        ("NTv3", "transformer_blocks", [0, 2]),
        ("native BERT", "module.bert.encoder.layer", [1]),
        ("native GPT-2", "module.transformer.h", [0]),
        ("native Llama", "module.model.layers", [2]),
    ],
)
def test_a_model_without_layers_is_the_model_that_skips_them(
    tmp_path: Path, name: str, stack: str, removed: list[int]
) -> None:
    checkpoint, model, anatomy = opened(FAMILIES[name](tmp_path / "whole"))
    described = anatomy.stack
    assert described is not None
    scores = [0.0 if layer in removed else 1.0 for layer in range(described.count)]
    assert choose_layers(described, scores, len(removed)) == removed
    config = copy.deepcopy(dict(checkpoint.config))
    described.configure(config, kept_of(described.count, removed))
    (tmp_path / "small").mkdir()
    write_checkpoint(tmp_path / "small", checkpoint, config, drop_layers(checkpoint.tensors, described, removed), {})
    small = logits(opened(tmp_path / "small")[1])
    holder, _, name_of_list = stack.rpartition(".")
    layers = model.network.get_submodule(stack)
    assert isinstance(layers, nn.ModuleList)
    left = nn.ModuleList(layer for at, layer in enumerate(layers) if at not in removed)
    setattr(model.network.get_submodule(holder), name_of_list, left)
    torch.testing.assert_close(small, logits(model), rtol=1e-4, atol=2e-5)


def test_layers_whose_place_decides_what_they_are_stay_or_leave_together(tmp_path: Path) -> None:
    _, _, anatomy = opened(FAMILIES["Caduceus PS"](tmp_path / "ps"))
    assert anatomy.stack is not None
    with pytest.raises(Exception, match=r"--layers 1: .*; 2 of them can leave"):
        choose_layers(anatomy.stack, [0, 1, 2, 3], 1)
    assert choose_layers(anatomy.stack, [5, 0, 5, 0], 2) == [0, 1]  # neighbours, not 1 and 3
    _, _, anatomy = opened(FAMILIES["Evo 2"](tmp_path / "evo"))
    assert anatomy.stack is not None
    assert choose_layers(anatomy.stack, [0, 1, 2, 3], 2) == [1, 2]  # the first has a gate that the others lack
    _, _, anatomy = opened(FAMILIES["GPN"](tmp_path / "gpn"))
    assert anatomy.stack is not None
    assert choose_layers(anatomy.stack, [0, 1, 9], 1) == [2]  # the dilation is 1, 2, 1: only the end can go alone


@pytest.mark.filterwarnings("ignore:.*torch.jit.script_method:DeprecationWarning")
def test_layers_that_the_library_makes_of_two_kinds_keep_their_places(tmp_path: Path) -> None:
    checkpoint, _, anatomy = opened(FAMILIES["native ModernBERT"](tmp_path / "whole"))
    assert anatomy.stack is not None
    assert choose_layers(anatomy.stack, [9, 0, 0, 9, 0], 1) == [4]  # every third one, from the first, sees whole rows
    assert choose_layers(anatomy.stack, [9, 0, 0, 9, 9], 2) == [1, 3]
    kind = anatomy.kind("ffn")
    assert kind is not None
    removed = chosen(kind)
    small = pruned(tmp_path / "small", checkpoint, kind, removed)
    torch.testing.assert_close(
        logits(small), logits(silenced(tmp_path / "quiet", checkpoint, kind, removed)), rtol=1e-4, atol=2e-5
    )


def test_every_unit_takes_all_of_its_entries_with_it(tmp_path: Path) -> None:
    checkpoint, _, anatomy = opened(FAMILIES["NT v2"](tmp_path / "nt"))
    kind = anatomy.kind("ffn")
    assert kind is not None
    at = "esm.encoder.layer.1."
    found = {(place.tensor, place.axis): place.entries[5].tolist() for place in kind.units[1].places}
    assert found == {(at + "intermediate.dense.weight", 0): [5, 37], (at + "output.dense.weight", 1): [5]}
    kind = anatomy.kind("heads")
    assert kind is not None
    found = {(place.tensor, place.axis): place.entries[2].tolist() for place in kind.units[0].places}
    at = "esm.encoder.layer.0.attention."
    head = list(range(16, 24))
    assert found == {
        **{(f"{at}self.{part}.{what}", 0): head for part in ("query", "key", "value") for what in ("weight", "bias")},
        (at + "output.dense.weight", 1): head,
    }
    assert set(checkpoint.tensors) >= {name for name, _ in found}


def test_mirrored_channels_leave_together(tmp_path: Path) -> None:
    _, _, anatomy = opened(FAMILIES["Caduceus PS"](tmp_path / "ps"))
    kind = anatomy.kind("width")
    assert kind is not None
    (removed,) = chosen(kind, 0.34)
    assert len(removed) == 4
    assert {11 - channel for channel in removed} == set(removed)


def test_heads_leave_each_layer_on_its_own_and_are_named_by_their_first_numbers(tmp_path: Path) -> None:
    checkpoint, _, anatomy = opened(FAMILIES["ESM-2"](tmp_path / "whole"))
    kind = anatomy.kind("heads")
    assert kind is not None
    pruned(tmp_path / "once", checkpoint, kind, [[0], [2], []])
    assert json.loads((tmp_path / "once/config.json").read_text())["pruned_heads"] == {"0": [0], "1": [2]}
    checkpoint, _, anatomy = opened(tmp_path / "once")
    kind = anatomy.kind("heads")
    assert kind is not None
    pruned(tmp_path / "twice", checkpoint, kind, [[0], [1], [1]])
    config = json.loads((tmp_path / "twice/config.json").read_text())
    assert config["pruned_heads"] == {"0": [0, 1], "1": [1, 2], "2": [1]}
    assert config["num_attention_heads"] == 3
    checkpoint, model, anatomy = opened(tmp_path / "twice")
    assert anatomy.stack is not None
    anatomy.stack.configure(config, [1, 2])
    assert config["pruned_heads"] == {"0": [1, 2], "1": [1]}
    assert [len(block.attention.output.weight[0]) for block in model.network.blocks] == [8, 8, 16]  # type: ignore[union-attr]


def test_a_narrower_network_has_heads_of_the_same_size(tmp_path: Path) -> None:
    checkpoint, _, anatomy = opened(FAMILIES["ESM-2"](tmp_path / "whole"))
    heads, width = anatomy.kind("heads"), anatomy.kind("width")
    assert heads is not None
    assert width is not None
    pruned(tmp_path / "few", checkpoint, heads, [[0], [], [1]])
    checkpoint, _, anatomy = opened(tmp_path / "few")
    width = anatomy.kind("width")
    assert width is not None
    assert width.counts is not None
    assert width.counts(0.4) == [16, 1, 2, 1]
    small = pruned(tmp_path / "narrow", checkpoint, width, chosen(width))
    config = json.loads((tmp_path / "narrow/config.json").read_text())
    assert (config["hidden_size"], config["num_attention_heads"]) == (16, 2)
    assert config["pruned_heads"] == {"0": [1], "2": [1]}
    assert [block.attention.heads for block in small.network.blocks] == [1, 2, 1]  # type: ignore[union-attr]
    again = opened(tmp_path / "narrow")[2].kind("width")
    assert again is not None
    assert again.counts is not None
    with pytest.raises(PruneError, match=r"--width 0\.5: no number of 2 heads can leave all layers"):
        again.counts(0.5)


@pytest.mark.parametrize(
    ("name", "share", "keys"),
    [
        (
            "Evo 2",
            0.5,
            {"hidden_size": 8, "num_attention_heads": 1, "hcs_filter_groups": 2, "hcm_filter_groups": 1},
        ),
        (
            "Evo 2 with four heads",  # 16 channels share a medium filter: two heads leave at a time
            0.3,
            {"hidden_size": 16, "num_attention_heads": 2, "hcm_filter_groups": 1, "hcl_filter_groups": 16},
        ),
        ("Evo 1 with four heads", 0.3, {"hidden_size": 24, "num_attention_heads": 3}),
    ],
)
def test_filters_serve_as_many_channels_as_before(
    tmp_path: Path, name: str, share: float, keys: dict[str, int]
) -> None:
    checkpoint, model, anatomy = opened(FAMILIES[name](tmp_path / "whole"))
    kind = anatomy.kind("width")
    assert kind is not None
    small = pruned(tmp_path / "small", checkpoint, kind, chosen(kind, share))
    config = open_checkpoint(tmp_path / "small").config
    assert {key: config[key] for key in keys} == keys
    assert config["eps"] == pytest.approx(1e-6 * (checkpoint.config["hidden_size"] / keys["hidden_size"]) ** 0.5)
    before, after = model.network, small.network
    assert isinstance(before, StripedNetwork)
    assert isinstance(after, StripedNetwork)
    assert [after.shape.width // groups for groups in after.shape.groups] == [
        before.shape.width // groups for groups in before.shape.groups
    ]


def test_models_that_are_known_by_their_width_keep_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = FAMILIES["Evo 2"](tmp_path / "whole")
    monkeypatch.setattr("export.pruning.striped.FLOAT8_WIDTHS", (16,))
    anatomy = opened(folder)[2]
    assert anatomy.kind("width") is None
    assert anatomy.refusals["width"].startswith("checkpoints of 16 channels are known by their number to need products")


def test_scales_lie_on_a_line_between_the_first_and_the_last(tmp_path: Path) -> None:
    checkpoint, model, anatomy = opened(FAMILIES["NTv3 repeating"](tmp_path / "whole"))
    kind = anatomy.kind("width")
    assert kind is not None
    assert model.network.shape.widths == [10, 11, 13]  # type: ignore[union-attr]
    assert [units.where for units in kind.units] == [
        "scale 0",
        "scale 1",
        "scale 2",
        "scale 0, upwards",
        "scale 1, upwards",
    ]
    small = pruned(tmp_path / "small", checkpoint, kind, chosen(kind, 0.4))
    assert small.network.shape.widths == [6, 7, 8]  # type: ignore[union-attr]
    assert open_checkpoint(tmp_path / "small").config["key_size"] == 6


@pytest.mark.parametrize(("removed", "bases", "units"), [([1], [0], [0, 1]), ([0, 1], [], [0, 1]), ([0, 3], [1], [0])])
def test_layers_leave_before_and_behind_the_conversion(
    tmp_path: Path, removed: list[int], bases: list[int], units: list[int]
) -> None:
    checkpoint, model, anatomy = opened(FAMILIES["MxDNA"](tmp_path / "whole"))
    assert anatomy.stack is not None
    assert anatomy.stack.count == 4
    assert anatomy.stack.layer_of("model.token_layers.1.ffn.ffn.w1.weight") == (
        "model.token_layers.",
        3,
        ".ffn.ffn.w1.weight",
    )
    config = copy.deepcopy(dict(checkpoint.config))
    anatomy.stack.configure(config, kept_of(4, removed))
    assert (config["num_hidden_layers"], config["conversion_layer_idx"]) == (len(bases) + len(units) + 1, len(bases))
    (tmp_path / "small").mkdir()
    tensors = drop_layers(checkpoint.tensors, anatomy.stack, removed)
    write_checkpoint(tmp_path / "small", checkpoint, config, tensors, {})
    small = logits(opened(tmp_path / "small")[1])
    network = model.network
    for part, left in (("nucleotide_layers", bases), ("token_layers", units)):
        setattr(network, part, nn.ModuleList(network.get_submodule(f"{part}.{at}") for at in left))
    torch.testing.assert_close(small, logits(model), rtol=1e-4, atol=2e-5)


def test_scores_of_reordered_rows_are_those_of_the_published_ones(tmp_path: Path) -> None:
    """What a channel of a gate is worth does not depend on the order in which checkpoints store its parts."""
    checkpoint, model, _ = opened(FAMILIES["Evo 2"](tmp_path / "whole"))
    rows = [Row(np.arange(65, 85), None) for _ in range(8)]
    found = entry_scores(checkpoint, model, rows, "taylor", 1)
    name, own = "blocks.0.projections.weight", "blocks.0.mixer.projections.weight"
    weight = dict(model.network.named_parameters())[own].detach()
    taken = weight[model.network.rows[own].argsort()]
    torch.testing.assert_close(taken, checkpoint.tensors[name].float())
    zero = copy.deepcopy(dict(checkpoint.tensors))
    zero[name][7] = 0
    (tmp_path / "quiet").mkdir()
    write_checkpoint(tmp_path / "quiet", checkpoint, checkpoint.config, zero, {})
    quiet, other, _ = opened(tmp_path / "quiet")
    assert found[name][7].sum() > 0
    assert entry_scores(quiet, other, rows, "taylor", 1)[name][7].sum() == 0


@pytest.mark.parametrize(
    ("heads", "message"),
    [
        ({"0": [3]}, r"pruned_heads has '0': \[3\]; the model has 3 layers of 3 heads"),
        ({"3": [0]}, r"pruned_heads has '3'"),
        ({"0": 1}, r"pruned_heads has '0': 1"),
        ({"1": [0, 1, 2]}, r"pruned_heads leaves layer 1 no head"),
        ([1], r"pruned_heads is \[1\], not layers"),
    ],
)
def test_pruned_heads_that_cannot_be_are_refused(tmp_path: Path, heads: object, message: str) -> None:
    folder = FAMILIES["ESM-2"](tmp_path / "whole")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "pruned_heads": heads}))
    with pytest.raises(Exception, match=message):
        opened(folder)


def test_transformers_builds_the_same_shapes_from_the_configuration(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    checkpoint, _, anatomy = opened(FAMILIES["ESM-2"](tmp_path / "whole"))
    kind = anatomy.kind("heads")
    assert kind is not None
    small = pruned(tmp_path / "small", checkpoint, kind, [[0], [2], []])
    theirs, facts = transformers.EsmForMaskedLM.from_pretrained(tmp_path / "small", output_loading_info=True)
    assert not facts["mismatched_keys"]
    ids = torch.from_numpy(batch_for(small, (21,))[0])
    with torch.inference_mode():
        wanted = theirs.eval()(ids, torch.ones_like(ids)).logits
        found = small.network(ids, torch.ones_like(ids))["logits"]
    torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "kind_name"),
    [
        ("ESM-2", "heads"),
        ("GENA-LM", "heads"),
        ("GPN-MSA", "width"),
        ("NTv3", "width"),
        ("Evo 2 with four heads", "width"),
    ],
)
def test_what_is_left_exports_and_its_graph_agrees(tmp_path: Path, name: str, kind_name: str) -> None:
    checkpoint, model, anatomy = opened(FAMILIES[name](tmp_path / "whole"))
    kind = anatomy.kind(kind_name)
    assert kind is not None
    removed = chosen(kind, 0.25 if name == "GPN-MSA" else 0.4)
    small = pruned(tmp_path / "small", checkpoint, kind, removed)
    graph = trace(small.network, ("logits",))
    compare(small, graph.SerializeToString(), ("logits",))
    whole = trace(model.network, ("logits",))
    sizes = [sum(int(np.prod(each.dims)) for each in one.graph.initializer) for one in (whole, graph)]
    assert sizes[1] < sizes[0]
    assert len(graph.graph.node) == len(whole.graph.node)  # smaller products, and no masks


def test_descriptions_are_of_families_that_exist() -> None:
    from export.families import families

    assert set(ANATOMIES) <= {family.name for family in families()}


def test_a_family_without_a_description_is_named(tmp_path: Path) -> None:
    checkpoint, model, _ = opened(FAMILIES["ESM-2"](tmp_path / "whole"))

    class Unknown:
        name = "NTv3"

    with pytest.raises(FamilyError, match=r"checkpoints of NTv3 cannot be pruned; known: ESM-1b"):
        anatomy_of(Unknown(), checkpoint, model)  # type: ignore[arg-type]


def test_fewer_channels_of_a_root_mean_square_are_made_up_for() -> None:
    """What the rescaling of Caduceus rests on: half the channels, weights times the root of two, twice the epsilon."""
    x = torch.tensor([[3.0, 0.0, -4.0, 0.0]])
    whole, half = RmsNorm(4, 0.5), RmsNorm(2, 1.0)
    with torch.no_grad():
        half.weight.mul_(2**0.5)
        torch.testing.assert_close(half(x[:, [0, 2]]), whole(x)[:, [0, 2]])
