"""Pruning: what leaves and why, bounds of what is left out, and the command that writes a smaller checkpoint."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from hypothesis import given, settings
from hypothesis import strategies as st
from pruned_families import FAMILIES

from edgeseq.bundle import read_bundle
from export.__main__ import main
from export.checkpoint import open_checkpoint
from export.families import find
from export.network import Model, Outputs, Request
from export.parity import feed
from export.pruning import anatomy_of
from export.pruning.caduceus import expansion
from export.pruning.files import write_checkpoint
from export.pruning.masking import hidden, mask_of
from export.pruning.recover import Course, recover
from export.pruning.rows import read_rows
from export.pruning.scores import entry_scores
from export.pruning.speed import of_pairs, timed_pairs
from export.rows import batch_for
from quantize.prune.anatomy import Kind, Stack
from quantize.prune.choice import choose_layers, choose_units
from quantize.prune.errors import PruneError
from quantize.prune.importance import Taylor, kind_scores, layer_scores, magnitude, unit_scores
from quantize.prune.modes import hankel_singular_values, reduce_filter
from quantize.prune.taps import shortest, truncation
from quantize.prune.units import Place, Units, check


def channels(count: int, **more: Any) -> Kind:
    units = Units("layer 0", count, (Place.run("wide", 0, count), Place.run("narrow", 1, count)), **more)
    return Kind("ffn", (units,), lambda *_: None)


def read(folder: Path) -> Model:
    checkpoint = open_checkpoint(folder)
    model = find(checkpoint).read(checkpoint, Request())
    model.network.eval()
    return model


def logits(model: Model, tokens: int) -> torch.Tensor:
    inputs = feed(model, *batch_for(model, (tokens,) * 2))
    with torch.inference_mode():
        outputs: Outputs = model.network(*(torch.from_numpy(inputs[one.name]) for one in model.network.inputs))
    return outputs["logits"]


@pytest.fixture
def sequences(tmp_path: Path) -> Path:
    """Sixteen sequences of 120 bases."""
    rng = np.random.default_rng(0)
    rows = [f">s{at}\n{''.join(rng.choice(list('ACGT'), 120))}\n" for at in range(16)]
    path = tmp_path / "sequences.fa"
    path.write_text("".join(rows))
    return path


def prune(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["prune", *map(str, arguments)])


# What leaves


def test_the_least_important_leave_as_many_as_asked_for() -> None:
    scores = torch.tensor([5.0, 1.0, 4.0, 0.5, 3.0, 2.0, 9.0, 9.0], dtype=torch.float64)
    assert choose_units(channels(8), [scores], 0.25) == [[1, 3]]
    assert choose_units(channels(8), [scores], 0.3) == [[1, 3]]
    assert choose_units(channels(8), [torch.ones(8)], 0.5) == [[0, 1, 2, 3]]  # equal: in the order of their numbers


def test_what_stays_is_a_multiple_where_the_whole_was_one() -> None:
    (removed,) = choose_units(channels(64, multiple=16), [torch.arange(64.0)], 0.3)
    assert 64 - len(removed) == 48
    (removed,) = choose_units(channels(60, multiple=16), [torch.arange(60.0)], 0.3)
    assert 60 - len(removed) == 42


def test_pinned_units_stay_and_bound_ones_leave_together() -> None:
    scores = torch.tensor([0.0, 1.0, 2.0, 3.0])
    assert choose_units(channels(4, pinned=frozenset({0})), [scores], 0.5) == [[1, 2]]
    assert choose_units(channels(4, bound=((0, 3), (1, 2))), [torch.tensor([9.0, 1, 1, 0])], 0.5) == [[1, 2]]
    with pytest.raises(
        PruneError, match=r"2 of 4 units of layer 0 cannot leave: 3 have to stay; ask for another share"
    ):
        choose_units(channels(4, pinned=frozenset({0, 1, 2})), [scores], 0.5)


@given(st.data())
def test_layers_leave_at_the_least_cost_that_their_places_allow(data: st.DataObject) -> None:
    count = data.draw(st.integers(2, 7))
    wanted = data.draw(st.integers(1, count - 1))
    places = tuple(data.draw(st.lists(st.integers(0, 1), min_size=count, max_size=count)))
    ends = tuple(data.draw(st.sampled_from(([], [at % 2 for at in range(count + 1)]))))
    scores = [float(score) for score in data.draw(st.lists(st.integers(0, 9), min_size=count, max_size=count))]
    stack = Stack(count, "", lambda *_: None, places, ends)

    def allowed(removed: tuple[int, ...]) -> bool:
        kept = [layer for layer in range(count) if layer not in removed]
        fits = all(places[at] == places[layer] for at, layer in enumerate(kept))
        return fits and (not ends or ends[len(kept)] == ends[count])

    able = [removed for removed in combinations(range(count), wanted) if allowed(removed)]
    if not able:
        with pytest.raises(PruneError, match=rf"--layers {wanted}: the layers behind those that leave"):
            choose_layers(stack, scores, wanted)
        return
    found = choose_layers(stack, scores, wanted)
    assert tuple(found) in able
    assert sum(scores[layer] for layer in found) == min(sum(scores[one] for one in those) for those in able)


@pytest.mark.parametrize("wanted", [0, 3, 4])
def test_some_layers_leave_and_some_stay(wanted: int) -> None:
    with pytest.raises(PruneError, match=rf"--layers {wanted}: the model has 3 layers, and at least one has to stay"):
        choose_layers(Stack(3, "", lambda *_: None), [1, 2, 3], wanted)


@pytest.mark.parametrize(
    ("units", "message"),
    [
        (Units("part", 2, (Place.run("w", 0, 2, each=2), Place.run("w", 0, 2, start=3))), "share entries of w"),
        (Units("part", 2, (Place.run("w", 0, 2, each=4),)), "w has 6 entries, not those of 2 units"),
        (Units("part", 2, (Place.run("v", 0, 2),)), "there is no tensor v"),
        (Units("part", 2, (Place.run("w", 0, 2),), bound=((0,),)), "do not hold each of 2 units once"),
    ],
)
def test_a_description_that_does_not_fit_is_found_out(units: Units, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check([units], {"w": (6, 3)})


# What matters


def test_a_score_is_the_weight_times_its_gradient_over_all_entries_of_a_unit() -> None:
    taylor = Taylor()
    weights = {"wide": torch.tensor([[1.0, -2.0], [3.0, 0.0]]), "narrow": torch.tensor([[0.5, 4.0]])}
    taylor.add(weights, {"wide": torch.tensor([[1.0, 1.0], [-1.0, 5.0]]), "narrow": torch.tensor([[2.0, 0.0]])})
    taylor.add(weights, {"wide": torch.zeros(2, 2), "narrow": torch.tensor([[2.0, 1.0]])})
    scores = kind_scores(channels(2), taylor.scores())
    assert scores[0].tolist() == [(1 + 2) / 2 + 1, 3 / 2 + 2]
    assert kind_scores(channels(2), magnitude(weights))[0].tolist() == [1 + 4 + 0.25, 9 + 16]
    assert layer_scores(Stack(1, r"(w)(ide)?()", lambda *_: None), {}) == [0.0]
    with pytest.raises(PruneError, match="layer 0: the loss reaches none of its tensors"):
        unit_scores(channels(2).units[0], {})


def test_a_unit_that_does_nothing_has_no_score_and_leaves_first(tmp_path: Path, sequences: Path) -> None:
    folder = FAMILIES["NT v2"](tmp_path / "nt")
    checkpoint = open_checkpoint(folder)
    tensors = dict(checkpoint.tensors)
    for layer in range(3):
        narrow = f"esm.encoder.layer.{layer}.output.dense.weight"
        tensors[narrow] = tensors[narrow].clone()
        tensors[narrow][:, [2, 7, 11]] = 0
        wide = f"esm.encoder.layer.{layer}.intermediate.dense.weight"
        tensors[wide] = tensors[wide].clone()
        tensors[wide][[2, 7, 11, 34, 39, 43]] = 0
    (tmp_path / "dull").mkdir()
    write_checkpoint(tmp_path / "dull", checkpoint, checkpoint.config, tensors, {})
    checkpoint = open_checkpoint(tmp_path / "dull")
    family = find(checkpoint)
    model = family.read(checkpoint, Request())
    rows = read_rows(model, sequences, labels=None, use_labels=False, window=60, most=32, seed=1)
    kind = anatomy_of(family, checkpoint, model).kind("ffn")
    assert kind is not None
    for how in ("taylor", "magnitude"):
        scores = kind_scores(kind, entry_scores(checkpoint, model, rows.calibration, how, 1))
        for score in scores:
            assert (score == 0).nonzero().flatten().tolist() == [2, 7, 11]


def test_scores_are_the_same_for_the_same_seed_alone(tmp_path: Path, sequences: Path) -> None:
    checkpoint = open_checkpoint(FAMILIES["GPN"](tmp_path / "gpn"))
    model = find(checkpoint).read(checkpoint, Request())
    rows = read_rows(model, sequences, labels=None, use_labels=False, window=60, most=32, seed=1)
    found = [entry_scores(checkpoint, model, rows.calibration, "taylor", seed) for seed in (1, 1, 2)]
    name = "model.encoder.layer.1.ffn.1.weight"
    assert torch.equal(found[0][name], found[1][name])
    assert not torch.equal(found[0][name], found[2][name])


def test_no_sequence_is_both_measured_on_and_calibrated_with(tmp_path: Path, sequences: Path) -> None:
    rows = read_rows(
        read(FAMILIES["HyenaDNA"](tmp_path / "h")),
        sequences,
        labels=None,
        use_labels=False,
        window=60,
        most=1000,
        seed=1,
    )
    assert (len(rows.calibration), len(rows.watched), len(rows.held)) == (20, 4, 8)
    assert len({row.ids.tobytes() for row in (*rows.calibration, *rows.watched, *rows.held)}) == 32


@pytest.mark.parametrize(("name", "mask"), [("ESM-2", 32), ("GPN", 1), ("NTv3", 2), ("DNABERT", 4), ("MxDNA", 4)])
def test_a_masked_language_model_is_asked_for_what_it_does_not_see(
    tmp_path: Path, sequences: Path, name: str, mask: int
) -> None:
    model = read(FAMILIES[name](tmp_path / "model"))
    given = [
        read_rows(model, sequences, labels=None, use_labels=False, window=60, most=64, seed=seed) for seed in (1, 1, 2)
    ]
    first, again, other = (np.concatenate([row.ids for row in rows.calibration]) for rows in given)
    assert first.tolist() == again.tolist()
    assert first.tolist() != other.tolist()
    assert 0.1 < (first == mask).mean() < 0.2
    for row in given[0].calibration:
        plain = replace(model, task="embedding")
        assert len(row.ids) == len(hidden(plain, row.ids, np.random.default_rng(1)))
        assert (row.ids == mask).sum() >= 1
        assert (row.ids[[0, -1]] == mask).sum() == 0 or not model.tokenizer.get("prefix")


def test_neighbours_that_know_a_hidden_base_are_hidden_as_well(tmp_path: Path) -> None:
    model = read(FAMILIES["DNABERT"](tmp_path / "model"))
    assert (mask_of(model), model.tokenizer["k"]) == (4, 3)
    ids = np.array([2, *range(10, 30), 3])
    for seed in range(5):
        places = np.flatnonzero(hidden(model, ids, np.random.default_rng(seed)) == 4)
        assert places.tolist() == list(range(places[0], places[0] + len(places)))
        assert len(places) == 3 or places[-1] == 20


# Long filters


FADING = st.floats(0.05, 0.97)


@st.composite
def filters(draw: st.DrawFn) -> tuple[torch.Tensor, torch.Tensor]:
    count = draw(st.integers(2, 6))
    radii = draw(st.lists(FADING, min_size=count, max_size=count, unique_by=lambda x: round(x, 2)))
    angles = draw(st.lists(st.floats(-3, 3), min_size=count, max_size=count))
    parts = draw(st.lists(st.floats(-1, 1), min_size=2 * count, max_size=2 * count))
    poles = torch.polar(torch.tensor(radii, dtype=torch.float64), torch.tensor(angles, dtype=torch.float64))
    residues = torch.complex(
        torch.tensor(parts[:count], dtype=torch.float64), torch.tensor(parts[count:], dtype=torch.float64)
    )
    return poles, residues


def taps_of(poles: torch.Tensor, residues: torch.Tensor, length: int) -> torch.Tensor:
    return poles[None] ** torch.arange(length, dtype=torch.float64)[:, None] @ residues


@settings(max_examples=40)
@given(filters(), st.integers(1, 5))
def test_a_filter_with_fewer_modes_is_as_near_as_promised(
    filter_: tuple[torch.Tensor, torch.Tensor], order: int
) -> None:
    poles, residues = filter_
    order = min(order, len(poles) - 1)
    found = reduce_filter(poles, residues, order, 2048)
    assert found.poles.shape == found.residues.shape == (order,)
    assert (found.poles.abs() < 1).all()
    error = taps_of(poles, residues, 4096) - taps_of(found.poles, found.residues, 4096)
    gain = float(torch.fft.fft(error, n=16384).abs().max())
    rounding = 1e-9 + 1e-6 * float(residues.abs().sum())
    assert gain <= found.bound + rounding
    x = torch.rand(512, dtype=torch.float64) - 0.5
    y = torch.fft.irfft(torch.fft.rfft(error.real[:512], n=1024) * torch.fft.rfft(x, n=1024), n=1024)[:512]
    assert float(y.norm()) <= found.bound * float(x.norm()) + rounding
    assert float(y.abs().max()) <= found.left * float(x.abs().max()) + rounding


def test_singular_values_are_those_of_the_matrix_of_taps() -> None:
    poles = torch.tensor([0.9, 0.5 + 0.3j, -0.4], dtype=torch.complex128)
    residues = torch.tensor([1.0, 0.7 - 0.2j, 0.3j], dtype=torch.complex128)
    h = taps_of(poles, residues, 600)
    hankel = torch.stack([h[row : row + 300] for row in range(300)])
    wanted = torch.linalg.svdvals(hankel)[:3]
    torch.testing.assert_close(hankel_singular_values(poles, residues), wanted, rtol=1e-9, atol=1e-12)


def test_real_filters_stay_sums_of_real_fading_exponentials() -> None:
    poles = torch.tensor([0.95, 0.8, 0.6, 0.3], dtype=torch.complex128)
    alike = reduce_filter(poles, torch.tensor([1.0, 0.5, 0.2, 0.1]), 2, 1024, positive=True)
    assert not alike.fitted
    assert alike.poles.imag.abs().max() == 0
    mixed = torch.tensor([1.0, -3.0, 3.0, -1.0])
    for order in (1, 2, 3):
        found = reduce_filter(poles, mixed, order, 1024, positive=True)
        assert (found.poles.real > 0).all()
        assert (found.poles.real < 1).all()
        error = taps_of(poles, mixed.to(torch.complex128), 1024) - taps_of(found.poles, found.residues, 1024)
        assert float(error.real.abs().sum()) == pytest.approx(found.left, rel=1e-6)


def test_modes_that_do_nothing_leave_at_no_cost() -> None:
    poles = torch.tensor([0.9, 0.9, 0.5, 0.7], dtype=torch.complex128)
    residues = torch.tensor([1.0, 1.0, 0.5, 0.0], dtype=torch.complex128)
    found = reduce_filter(poles, residues, 2, 512)
    assert found.bound < 1e-6
    assert found.left < 1e-6
    assert len(reduce_filter(poles, residues, 3, 512).poles) == 3


def test_a_pole_that_does_not_fade_has_no_bound() -> None:
    with pytest.raises(PruneError, match=r"--modes: a long filter has a pole of size 1, which does not fade"):
        reduce_filter(torch.tensor([1.0, 0.5]), torch.ones(2), 1, 64)


@given(st.integers(1, 30), st.integers(0, 2**32 - 1))
def test_a_filter_cut_off_is_as_near_as_promised(kept: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    taps = torch.from_numpy(rng.normal(size=(32, 3)) * 0.8 ** np.arange(32)[:, None])
    x = torch.from_numpy(rng.uniform(-2, 2, (64, 3)))
    short = torch.where(torch.arange(32)[:, None] < kept, taps, 0.0)
    left = truncation(taps, kept)
    for channel in range(3):
        whole, cut = (np.convolve(x[:, channel], one[:, channel])[:64] for one in (taps, short))
        assert np.abs(whole - cut).max() <= float(left.bound(2.0)[channel]) + 1e-12
    signs = taps.sign().flip(0)[:, 0]  # the input that the bound is met by
    met = np.convolve(signs, taps[:, 0] - short[:, 0])[31]
    assert met == pytest.approx(float(left.bound(1.0)[0]))


def test_the_fewest_taps_that_lose_little() -> None:
    taps = torch.tensor([[8.0, 4.0], [1.0, 4.0], [1.0, 0.0], [0.0, 0.0]])
    assert shortest(taps, 0.1) == 2
    assert shortest(taps, 0.0) == 3
    assert shortest(taps, 0.25) == 2
    assert truncation(taps, 1).as_json() == {
        "taps": 1,
        "largest_left": 4.0,
        "mean_share_left": pytest.approx(0.35),
        "largest_share_left": 0.5,
    }


def test_rows_that_end_before_the_last_tap_do_not_see_the_cut(tmp_path: Path, sequences: Path) -> None:
    whole = read(FAMILIES["Evo 2"](tmp_path / "evo"))
    result = prune(tmp_path / "evo", "--calibrate", sequences, "--taps", 128, "--no-speed", "-o", tmp_path / "short")
    assert result.exit_code == 0, result.output
    short = read(tmp_path / "short")
    torch.testing.assert_close(logits(short, 128), logits(whole, 128), rtol=1e-4, atol=1e-5)
    assert (logits(short, 400) - logits(whole, 400)).abs().max() > 1e-5
    config = open_checkpoint(tmp_path / "short").config
    assert (config["hcm_layer_idxs"], config["hcl_layer_idxs"]) == ([1, 2], [])
    assert (config["hcm_filter_length"], config["hcm_filter_groups"]) == (128, 16)


@pytest.mark.parametrize("name", ["Evo 1", "Evo 2"])
def test_fewer_modes_are_stored_as_they_are_published(tmp_path: Path, sequences: Path, name: str) -> None:
    whole = read(FAMILIES[name](tmp_path / "evo"))
    result = prune(tmp_path / "evo", "--calibrate", sequences, "--modes", 2, "--no-speed", "-o", tmp_path / "low")
    assert result.exit_code == 0, result.output
    low = read(tmp_path / "low")
    report = json.loads((tmp_path / "low/prune_report.json").read_text())["modes"]["layers"]
    assert open_checkpoint(tmp_path / "low").config["state_size"] == 2
    for layer, (mixer, other) in enumerate(zip(whole.network.mixers(), low.network.mixers(), strict=True)):  # type: ignore[operator]
        if str(layer) not in report:
            continue
        with torch.no_grad():
            error = mixer.filter.made(600) - other.filter.made(600)
        left = error.abs().sum(dim=0)
        assert float(left.max()) == pytest.approx(report[str(layer)]["largest_left"], rel=1e-3)
        gain = float(torch.fft.rfft(error, n=4096, dim=0).abs().max())
        assert gain <= report[str(layer)]["largest_bound"] * (1 + 1e-4)


# The command


@pytest.mark.slow
def test_the_command_writes_a_smaller_checkpoint_and_says_what_it_did(tmp_path: Path, sequences: Path) -> None:
    folder = FAMILIES["NT v2"](tmp_path / "nt")
    (folder / "modeling_esm.py").write_text("raise SystemExit")
    out = tmp_path / "small"
    result = prune(
        folder, "--calibrate", sequences, "--window", 60, "--ffn", 0.5, "--heads", 0.34, "--layers", 1, "-o", out
    )  # graphs included: one export of each model
    assert result.exit_code == 0, result.output
    report = json.loads((out / "prune_report.json").read_text())
    assert [part["after"] for part in report["removed"]["ffn"]["parts"]] == [16, 16, 16]
    assert [part["after"] for part in report["removed"]["heads"]["parts"]] == [2, 2, 2]
    assert len(report["removed"]["layers"]["removed"]) == 1
    assert report["before"] == {"rows": 8, "distance": pytest.approx(0, abs=1e-9), "agreement": 1.0}
    assert report["after"]["distance"] > 0
    assert report["size"]["parameters_after"] < report["size"]["parameters_before"]
    assert report["size"]["bytes_after"] == (out / "model.safetensors").stat().st_size
    assert report["speed"]["after_bytes"] < report["speed"]["before_bytes"]
    assert report["speed"]["verdict"] == ("useful" if report["speed"]["ratio"] >= 1.2 else "useless")
    assert report["speed"]["ratio_95"][0] <= report["speed"]["ratio"] <= report["speed"]["ratio_95"][1]
    assert f"pairs) times as fast: {report['speed']['verdict']}" in result.output
    config = json.loads((out / "config.json").read_text())
    assert (config["intermediate_size"], config["num_hidden_layers"]) == (16, 2)
    assert sorted(file.name for file in out.iterdir()) == [
        "config.json",
        "model.safetensors",
        "prune_report.json",
        "tokenizer_config.json",
        "vocab.txt",
    ]
    assert not [file for file in tmp_path.iterdir() if file.name.startswith(".")]


def test_speed_is_that_of_most_pairs() -> None:
    steady = [(1.5, 1.0)] * 32
    assert of_pairs(9, steady, (2, 1)).as_json() == {
        "tokens": 9,
        "pairs": 32,
        "before_ms": 1.5,
        "after_ms": 1.0,
        "ratio": 1.5,
        "ratio_95": (1.5, 1.5),
        "before_bytes": 2,
        "after_bytes": 1,
        "verdict": "useful",
    }
    slower = [(before * (1 + at / 4), after * (1 + at / 4)) for at, (before, after) in enumerate(steady)]
    assert of_pairs(9, slower, (2, 1)).ratio == pytest.approx(1.5)  # a clock that falls meets both of a pair
    disturbed = [(9.0, 1.0), (1.5, 90.0)] * 4 + steady[8:]
    assert of_pairs(9, disturbed, (2, 1)).ratio == 1.5
    assert of_pairs(9, disturbed, (2, 1)).ratio_95 == (1.5, 1.5)
    assert of_pairs(9, [(1.19, 1.0)] * 17 + [(5.0, 1.0)] * 15, (2, 1)).verdict == "useless"
    assert of_pairs(9, [(float(at), 1.0) for at in range(1, 33)], (2, 1)).ratio_95 == (10.0, 23.0)


def test_pairs_begin_by_turns_and_do_not_count_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    clock = {"processor": 0.0}

    def work(name: str, seconds: float) -> Callable[[], None]:
        def run() -> None:
            calls.append(name)
            clock["processor"] += seconds

        return run

    monkeypatch.setattr("time.process_time", lambda: clock["processor"])
    pairs = timed_pairs(work("a", 0.002), work("b", 0.001))
    assert "".join(calls) == "ab" + "abba" * 6
    assert len(pairs) == 12
    assert all(pair == pytest.approx((2.0, 1.0)) for pair in pairs)


def test_the_same_seed_gives_the_same_bytes(tmp_path: Path, sequences: Path) -> None:
    folder = FAMILIES["GPN"](tmp_path / "gpn")
    made = []
    for name in ("first", "second"):
        options = ("--ffn", 0.4, "--recover", "distil", "--steps", 6, "--no-speed", "--window", 60)
        result = prune(folder, "--calibrate", sequences, *options, "-o", tmp_path / name)
        assert result.exit_code == 0, result.output
        made.append((tmp_path / name / "model.safetensors").read_bytes())
    assert made[0] == made[1]


@pytest.mark.parametrize(
    "name",
    [
        "NT v2",
        "bare ESM-2",
        "GPN",
        "HyenaDNA original",
        "Caduceus Ph",
        "Evo 2 in parts",
        "NTv3 repeating",
        "MxDNA classifier",
        "native GPT-2",
    ],
)
def test_recovery_brings_the_outputs_back_towards_the_whole_model(tmp_path: Path, sequences: Path, name: str) -> None:
    folder = FAMILIES[name](tmp_path / "whole")
    kind = {"Caduceus Ph": "--channels", "NTv3 repeating": "--width"}.get(name, "--ffn")
    rate = 3e-4 if name.startswith("Evo") else 3e-3
    options = (kind, 0.5, "--recover", "distil", "--steps", 24, "--rate", rate, "--no-speed", "--window", 60)
    result = prune(folder, "--calibrate", sequences, *options, "-o", tmp_path / "small")
    assert result.exit_code == 0, result.output
    report = json.loads((tmp_path / "small/prune_report.json").read_text())
    assert report["recovered"]["distance"] < report["after"]["distance"]
    assert report["recovery"]["after"] < report["recovery"]["before"]
    assert report["recovery"]["stopped"] in ("steps", "early")


def test_recovery_keeps_the_weights_of_the_best_moment(tmp_path: Path, sequences: Path) -> None:
    folder = FAMILIES["GPN"](tmp_path / "gpn")
    teacher, student = read(folder), read(folder)
    rows = read_rows(teacher, sequences, labels=None, use_labels=False, window=60, most=32, seed=1)
    course = Course("distil", 1.0, steps=30, rate=1.0)  # far too fast: every step makes it worse
    found = recover(student, teacher, rows.calibration, rows.watched, course, ())
    assert found.before == pytest.approx(0, abs=1e-7)
    assert found.after == pytest.approx(0, abs=1e-7)
    assert found.stopped == "early"
    torch.testing.assert_close(logits(student, 33), logits(teacher, 33))


@pytest.mark.parametrize(
    ("name", "dropped"), [("ESM-2", "lm_head."), ("GENA-LM", "cls."), ("NTv3", "core.lm_head."), ("Evo 2", "")]
)
def test_a_narrower_embedding_is_another_one(tmp_path: Path, sequences: Path, name: str, dropped: str) -> None:
    folder = FAMILIES[name](tmp_path / "whole")
    options = ("--task", "embedding", "--width", 0.5, "--window", 30, "--no-speed")
    result = prune(folder, "--calibrate", sequences, *options, "-o", tmp_path / "small")
    assert result.exit_code == 0, result.output
    assert "embeddings with other channels than before, which cannot be compared" in result.output
    report = json.loads((tmp_path / "small/prune_report.json").read_text())
    assert all(each.startswith(dropped) for each in report["dropped_tensors"])
    assert bool(report["dropped_tensors"]) == bool(dropped)
    assert not [each for each in open_checkpoint(tmp_path / "small").tensors if dropped and each.startswith(dropped)]
    result = prune(folder, "--calibrate", sequences, *options, "--recover", "distil", "-o", tmp_path / "other")
    assert result.exit_code == 1
    assert "--recover distil: what is left gives embeddings with other channels" in result.output
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize("name", ["Evo 1", "Evo 1 channel by channel", "Evo 2"])
def test_rows_in_another_order_are_trained_and_written_as_published(tmp_path: Path, sequences: Path, name: str) -> None:
    folder = FAMILIES[name](tmp_path / "evo")
    options = ("--width", 0.5, "--recover", "distil", "--steps", 24, "--rate", 1e-3, "--no-speed", "--window", 40)
    result = prune(folder, "--calibrate", sequences, *options, "-o", tmp_path / "small")
    assert result.exit_code == 0, result.output
    report = json.loads((tmp_path / "small/prune_report.json").read_text())
    assert report["recovered"]["distance"] < 0.95 * report["after"]["distance"]
    assert report["recovered"]["distance"] == pytest.approx(report["recovery"]["after"], rel=0.2)


def test_labels_are_what_recovery_is_about_where_they_are_given(tmp_path: Path) -> None:
    import esm_checkpoint

    config = {**esm_checkpoint.ESM2, "architectures": ["EsmForSequenceClassification"], "vocab_size": 4107}
    config |= {"mask_token_id": 2, "id2label": {"0": "no", "1": "yes"}, "problem_type": "single_label_classification"}
    tensors = esm_checkpoint.published(config, gated=True, labels=2)
    folder = esm_checkpoint.write(tmp_path / "nt", config, tensors)
    rng = np.random.default_rng(1)
    letters = {"yes": list("GGGC"), "no": list("AAAT")}
    rows = [f"{''.join(rng.choice(letters[label], 60))}\t{label}" for label in ("yes", "no") * 80]
    (tmp_path / "labelled.tsv").write_text("\n".join(("sequence\tlabel", *rows)) + "\n")
    options = ("--labelled", "--ffn", 0.5, "--recover", "labelled", "--steps", 60, "--rate", 3e-3, "--no-speed")
    result = prune(folder, "--calibrate", tmp_path / "labelled.tsv", *options, "-o", tmp_path / "small")
    assert result.exit_code == 0, result.output
    report = json.loads((tmp_path / "small/prune_report.json").read_text())
    assert report["calibration"]["labels"]
    assert report["before"]["mcc"] < 0.9
    assert report["recovered"]["mcc"] > 0.9


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("DNABERT-2", ("--heads", 0.5), r"--heads: the published code joins queries, keys and values"),
        (
            "ESM-2",
            ("--channels", 0.5),
            r"--channels: is --width for this family; it can lose ffn, heads, layers, width",
        ),
        ("NT v2", ("--vocabulary", "unused"), r"--vocabulary unused: the tokenizer counts the rows of all words"),
        ("GPN", ("--heads", 0.5), r"--heads: the network has no attention"),
        ("GPN with features", ("--ffn", 0.5), r"needs aux_features beside its sequences: --calibrate an \.npz file"),
        ("GPN ByteNet", ("--ffn", 0.5), r"--ffn: its inner width is hidden_size in the published code"),
        ("HyenaDNA", ("--taps", 100), r"--taps 100: .* would lose \d+% of its filters' 1-norm"),
        ("Caduceus Ph", ("--modes", 2), r"--modes: the states of a selective scan are no modes of a fixed filter"),
        ("Caduceus PS", ("--layers", 1), r"--layers 1: .*; 2 of them can leave"),
        ("Evo 1", ("--taps", 128), r"--taps: the published configuration of Evo 1 has no filters of a fixed length"),
        ("Evo 1", ("--modes", 3), r"--modes 3: long filters have 3 modes; ask for fewer"),
        ("Evo 2", ("--taps", 200), r"--taps 200: all medium filters have one length, here 128"),
        ("Evo 2", ("--heads", 0.5), r"--heads: gates, filters and attention of every layer have hidden_size channels"),
        ("Evo 2", ("--taps", 128, "--width", 0.5), r"--taps and --width: the one lays out anew what the other cuts"),
        ("Evo 1", ("--width", 0.01), r"--width 0.01: nothing would leave all layers, whose 16 units leave several"),
        ("ESM-2", ("--width", 0.3, "--heads", 0.3), r"--\w+ and --\w+: both cut \S+; make one cut, then the other"),
        ("ESM-2", ("--ffn", 0.5, "--recover", "labelled"), r"--recover labelled: no labels of \S+ were asked for"),
        ("DNABERT-2", ("--width", 0.5), r"--width: .* those that stay would get other biases"),
        ("GPN-MSA", ("--heads", 0.5), r"--heads: the published code of GPN-MSA cannot prune heads"),
        ("NTv3", ("--channels", 0.5), r"--channels: is --width for this family"),
        ("NTv3", ("--vocabulary", "unused"), r"--vocabulary unused: the rows are the bases and a few special tokens"),
        (
            "MxDNA",
            ("--width", 0.5),
            r"--width: the published code merges the channels of a unit in groups whose number",
        ),
        ("MxDNA", ("--heads", 0.5), r"--heads: .* no key says that a layer has fewer; take --ffn or --layers"),
        ("native BERT", ("--heads", 0.5), r"--heads: the library has dropped the key"),
        ("native BERT", ("--vocabulary", "unused"), r"--vocabulary unused: the checkpoint has no tokenizer.json"),
        ("ESM-2", (), r"nothing to remove: no cut was asked for"),
    ],
)
def test_a_cut_that_a_configuration_cannot_say_is_refused(
    tmp_path: Path, sequences: Path, name: str, options: tuple[object, ...], message: str
) -> None:
    folder = FAMILIES[name](tmp_path / "whole")
    before = sorted(tmp_path.rglob("*"))
    result = prune(folder, "--calibrate", sequences, "--no-speed", *options, "-o", tmp_path / "small")
    assert result.exit_code == 1
    assert result.exception is None or isinstance(result.exception, SystemExit)
    assert re.search(message, result.output), result.output
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.slow
def test_a_bundle_says_that_its_checkpoint_was_pruned(tmp_path: Path, sequences: Path) -> None:
    folder = FAMILIES["GENA-LM"](tmp_path / "whole")
    options = ("--ffn", 0.5, "--heads", 0.5, "--layers", 1, "--no-speed")
    result = prune(folder, "--calibrate", sequences, *options, "-o", tmp_path / "small")
    assert result.exit_code == 0, result.output
    done = CliRunner().invoke(main, [str(tmp_path / "small"), "-o", str(tmp_path / "small.edgeseq")])
    assert done.exit_code == 0, done.output
    pruned = read_bundle(tmp_path / "small.edgeseq").manifest.provenance["pruned"]
    assert pruned["left"] == {"ffn": [6, 6], "heads": [1, 1]}
    assert len(pruned["layers_removed"]) == 1
    assert pruned["source_sha256"] == open_checkpoint(folder).sha256
    (tmp_path / "small/prune_report.json").write_text("[]")
    done = CliRunner().invoke(main, [str(tmp_path / "small"), "-o", str(tmp_path / "other.edgeseq")])
    assert done.exit_code == 1
    assert "no report of pruning" in done.output


def test_what_is_there_is_not_written_over(tmp_path: Path, sequences: Path) -> None:
    folder = FAMILIES["GPN"](tmp_path / "gpn")
    result = prune(folder, "--calibrate", sequences, "--ffn", 0.5, "--no-speed", "-o", folder)
    assert result.exit_code == 1
    assert "exists already; name a folder that does not" in result.output
    assert not (folder / "prune_report.json").exists()


def test_a_factor_that_the_published_code_cuts_off_to_the_right_number() -> None:
    for width in range(1, 300):
        for inner in range(1, 2 * width, 7):
            assert int(expansion(inner, width) * width) == inner
    assert expansion(24, 12) == 2


# Words that are never used


def pieces(folder: Path, name: str) -> Path:
    """A model with a learned vocabulary of 69 words, of which poly-T and a few others can be used."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers

    FAMILIES[name](folder)
    (folder / "vocab.txt").unlink()
    tokenizer = Tokenizer(models.BPE(unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    special = ["[UNK]", "[CLS]", "[SEP]", "[PAD]", "[MASK]"]
    trainer = trainers.BpeTrainer(vocab_size=69, special_tokens=special, initial_alphabet=list("ACGTN"))
    rng = np.random.default_rng(4)
    tokenizer.train_from_iterator(("".join(rng.choice(list("ACGT"), 400)) for _ in range(40)), trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    assert tokenizer.get_vocab_size() == 69
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(
        '{"tokenizer_class": "PreTrainedTokenizerFast", "pad_token": "[PAD]"}'
    )
    return folder


@pytest.mark.parametrize("name", ["DNABERT-2", "native words"])
def test_words_that_the_task_never_uses_leave_table_and_tokenizer(tmp_path: Path, name: str) -> None:
    folder = pieces(tmp_path / "whole", name)
    rng = np.random.default_rng(2)
    texts = ["".join(rng.choice(list("AT"), 90)) for _ in range(16)]
    (tmp_path / "at.fa").write_text("".join(f">{at}\n{text}\n" for at, text in enumerate(texts)))
    options = ("--vocabulary", "unused", "--ffn", 0.3, "--no-speed", "--max-length", 200)
    result = prune(folder, "--calibrate", tmp_path / "at.fa", *options, "-o", tmp_path / "small")
    assert result.exit_code == 0, result.output
    report = json.loads((tmp_path / "small/prune_report.json").read_text())
    rows = report["vocabulary"]["rows_after"]
    assert 11 < rows < 40
    config = json.loads((tmp_path / "small/config.json").read_text())
    assert config["vocab_size"] == rows
    result = prune(
        folder,
        "--calibrate",
        tmp_path / "at.fa",
        "--vocabulary",
        "unused",
        "--no-speed",
        "--max-length",
        200,
        "-o",
        tmp_path / "words",
    )
    assert result.exit_code == 0, result.output
    whole, small = read(folder), read(tmp_path / "words")
    from edgeseq.tokenizers import load_tokenizer

    old, new = load_tokenizer(whole.tokenizer), load_tokenizer(small.tokenizer)
    kept = None
    for text in texts:
        before, after = (torch.from_numpy(one.encode(text.encode()).astype(np.int64))[None] for one in (old, new))
        assert before.shape == after.shape
        with torch.inference_mode():
            wanted = whole.network(before, torch.ones_like(before))["logits"]
            found = small.network(after, torch.ones_like(after))["logits"]
        if kept is None:
            kept = [int((wanted[0, 0] - value).abs().argmin()) for value in found[0, 0]]
            assert len(set(kept)) == rows
        torch.testing.assert_close(found, wanted[..., kept])
    assert new.decode(new.encode(b"GGCCNACG")) == b"GGCCNACG"  # what the task never had still has an encoding


def test_rows_behind_the_bytes_leave(tmp_path: Path, sequences: Path) -> None:
    whole = read(FAMILIES["Evo 1"](tmp_path / "evo"))
    options = ("--vocabulary", "unused", "--no-speed")
    result = prune(tmp_path / "evo", "--calibrate", sequences, *options, "-o", tmp_path / "small")
    assert result.exit_code == 0, result.output
    torch.testing.assert_close(logits(read(tmp_path / "small"), 40), logits(whole, 40)[..., :256])
