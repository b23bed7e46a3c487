"""Published nets of no family, packed as docs/other-nets.md has it, on data where the right answer is known."""

from __future__ import annotations

import csv
import gzip
import shlex
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from conftest import REPOSITORY, RunEdgeseq, Shared
from pod5_signal import raw_signals

import edgeseq
from export.__main__ import main
from export.nets import squigglenet
from export.tensors import read_tensors
from export.weights import Layout, load_weights

SITE = 300
"""Base of the benchmark's sequences at which the site is: the last one of an exon, or the first one of the next."""
PUBLISHED = {
    "model_80nt_rs10.pt": "openspliceai_mane_80nt_rs10.pt",
    "model_10000nt_rs10.pt": "openspliceai_mane_10000nt_rs10.pt",
    "second_nnet_kmer_4.pkl": "tiara_second_nnet_kmer_4.pkl",
    "model_B4t2_3000_tot32.ckpt": "squigglenet_a.ckpt",
}
"""Weights by the names under which they were published."""


def pack(shared: Shared, monkeypatch: pytest.MonkeyPatch, folder: Path, name: str, **changes: str) -> Path:
    """The bundle that the command in the docs with ``--name NAME`` makes, run in ``folder``; an option that is changed
    to nothing is left out."""
    monkeypatch.chdir(folder)
    for published, file in PUBLISHED.items():
        (folder / published).symlink_to(shared / f"data/weights/{file}")
    text = (REPOSITORY / "docs" / "other-nets.md").read_text().replace("\\\n", " ")
    (line,) = (line for line in text.splitlines() if f"--name {name} " in line)
    words = shlex.split(line)
    assert words[:3] == ["python", "-m", "export"]
    for option, value in changes.items():
        at = words.index(f"--{option}")
        words[at : at + 2] = [f"--{option}", value] if value else []
    done = CliRunner().invoke(main, words[3:])
    assert done.exit_code == 0, done.output
    return folder / f"{name}.edgeseq"


def splice_sites(shared: Shared, task: str, label: str) -> list[str]:
    """Sequences of 600 bases from many species; label 1 has a site of the task's kind in the middle, on either strand,
    0 has none."""
    with gzip.open(shared / "data/labelled/nt_benchmark_subset_train.tsv.gz", "rt") as file:
        rows = csv.DictReader(file, delimiter="\t")
        return [row["sequence"] for row in rows if (row["task"], row["label"]) == (task, label)]


def hits(run_edgeseq: RunEdgeseq, bundle: Path, sequences: list[str], track: str) -> int:
    """How many sequences have the highest score of both their strands, 0.01 or more, at their site."""
    folder = bundle.parent
    turned = [sequence[::-1].translate(str.maketrans("ACGT", "TGCA")) for sequence in sequences]
    both = enumerate(zip(sequences, turned, strict=True))
    (folder / "r.fa").write_text("".join(f">{at}+\n{one}\n>{at}-\n{other}\n" for at, (one, other) in both))
    done = run_edgeseq(
        "score", folder / "r.fa", "-m", bundle, "-o", folder / "r.bedgraph", "--track", track, "--min-score", 0.01
    )
    assert done.code == 0, done.err
    best = [(0.0, "", 0)] * len(sequences)
    for line in (folder / "r.bedgraph").read_text().splitlines():
        name, start, _, score = line.split("\t")
        at = int(name[:-1])
        best[at] = max(best[at], (float(score), name[-1], int(start)))
    return sum((strand, place) in (("+", SITE), ("-", SITE - 1)) for _, strand, place in best)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_splice_sites_are_where_they_are(
    shared: Shared, run_edgeseq: RunEdgeseq, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 600 bases on two strands, the small net scores the true one highest in 30 of 39 donors, 19 of 36 acceptors."""
    bundle = pack(shared, monkeypatch, tmp_path, "splice80")
    for task, track, sites, known, found in (
        ("splice_sites_donors", "donor", 39, 28, 30),
        ("splice_sites_acceptors", "acceptor", 36, 20, 19),
    ):
        true, false = splice_sites(shared, task, "1"), splice_sites(shared, task, "0")
        assert (len(true), hits(run_edgeseq, bundle, true, track)) == (sites, found)
        assert (len(false), hits(run_edgeseq, bundle, false, track)) == (known, 0)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_size_of_10000_bases(
    shared: Shared, run_edgeseq: RunEdgeseq, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same file format with 125 times the reach, which short sequences leave to N."""
    bundle = pack(shared, monkeypatch, tmp_path, "splice10k", window="600", stride="")
    assert hits(run_edgeseq, bundle, splice_sites(shared, "splice_sites_acceptors", "1")[:4], "acceptor") >= 1


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_organelles_are_told_apart(
    shared: Shared, run_edgeseq: RunEdgeseq, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where all k-mers weigh the same: their weights come in tiara's package."""
    bundle = pack(shared, monkeypatch, tmp_path, "tiara", argument="")
    for file, label, number in (("plast", "plastid", 10), ("mitochondria", "mitochondrion", 19)):
        done = run_edgeseq("score", shared / f"data/genomes/tiara_{file}_fr.fasta.gz", "-m", bundle)
        rows = [line.split("\t") for line in done.out.splitlines()[1:]]
        assert [row[3] for row in rows] == [label] * number
        assert min(float(row[4]) for row in rows) > 0.9


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_signal_looks_inside_as_it_did_in_training(
    shared: Shared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The norms of the net hold mean and spread of every channel in training. Real reads of the same chemistry show
    the same ones, if signal and net are prepared as then; with one scaling instead of two they do not."""
    pytest.importorskip("pyarrow")
    tensors = read_tensors(shared / "data/weights/squigglenet_a.ckpt")
    net = squigglenet.network(tensors)
    load_weights(net, tensors, Layout(), "squigglenet_a.ckpt")
    reads = raw_signals(shared / "data/pod5/multi_fast5_zip_v3.pod5")
    cut = np.stack([read[squigglenet.ADAPTER :][: squigglenet.SAMPLES] for read in reads])
    rows = squigglenet.normalised(cut)
    assert rows.shape == (10, 3000)
    likeness, spread = _likeness(net.eval(), rows)
    assert likeness > 0.99
    assert spread == pytest.approx(1, abs=0.05)
    assert _likeness(net, 1.4826 * rows)[1] > 1.2
    bundle = pack(shared, monkeypatch, tmp_path, "squiggle")
    with edgeseq.load(bundle) as scorer, torch.inference_mode():
        logits = scorer.run({"signal": rows})["logits"]
        np.testing.assert_allclose(logits, net(torch.from_numpy(rows)).numpy(), atol=1e-4)
    assert logits.argmax(axis=1).tolist() == [1] * 10


def _likeness(net: torch.nn.Module, rows: np.ndarray) -> tuple[float, float]:
    """Over all norms, the median correlation of channel means with those of training, and the ratio of spreads."""
    found: list[tuple[float, float]] = []

    def look(norm: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        assert isinstance(norm, torch.nn.BatchNorm1d)
        trained, spread = norm.running_mean, norm.running_var
        assert trained is not None
        assert spread is not None
        ratio = (inputs[0].var((0, 2)) / spread).sqrt().median()
        found.append((float(np.corrcoef(inputs[0].mean((0, 2)), trained)[0, 1]), float(ratio)))

    hooks = [one.register_forward_pre_hook(look) for one in net.modules() if isinstance(one, torch.nn.BatchNorm1d)]
    with torch.inference_mode():
        net(torch.from_numpy(rows.astype(np.float32)))
    for hook in hooks:
        hook.remove()
    likeness, ratio = np.median(np.array(found), axis=0)
    return float(likeness), float(ratio)


def test_outliers_of_a_signal_become_the_mean_of_their_neighbours() -> None:
    signal = np.array([[0.0, 1.0, 2.0, 1.0, 90.0, 1.0, 0.0, 2.0]])
    rows = squigglenet.normalised(signal)
    scale = 1.4826**2
    np.testing.assert_allclose(rows[0], np.array([-1, 0, 1, 0, 0, 0, -1, 1]) / scale, atol=1e-6)


def test_kernels_that_were_never_published_are_refused() -> None:
    from export.nets.openspliceai import network

    with pytest.raises(ValueError, match="unit 0 has a kernel of 9: not a published size"):
        network({"initial_conv.weight": torch.zeros(4, 4, 1), "residual_units.0.conv1.weight": torch.zeros(4, 4, 9)})


def test_weights_of_kmers_have_to_be_as_many(tmp_path: Path) -> None:
    from export.nets.tiara import network

    np.save(tmp_path / "model.npy", np.ones(64))
    sizes = {"0": (8, 256), "3": (4, 8), "6": (3, 4)}
    with pytest.raises(ValueError, match=r"holds \(64,\) weights; the net counts 256 k-mers"):
        network({f"{at}.weight": torch.zeros(size) for at, size in sizes.items()}, str(tmp_path / "model.npy"))


def test_kmers_are_counted_in_lexicographic_order() -> None:
    """A net whose first layer hands on the share of one k-mer: CA is the fifth of 16; N breaks k-mers."""
    from export.nets.tiara import Kmers

    net = Kmers([16, 16, 16, 16], torch.ones(16))
    for place in net.places:
        layer = net.get_submodule(str(place))
        layer.weight.data, layer.bias.data = torch.eye(16), torch.zeros(16)
    with torch.inference_mode():
        given = net(torch.tensor([[1, 0, 1, 0, 4, 1, 0]]))
    wanted = np.zeros(16)
    wanted[[4, 1]] = 3, 1
    np.testing.assert_allclose(given[0].numpy(), wanted / np.sqrt(10), atol=1e-6)
