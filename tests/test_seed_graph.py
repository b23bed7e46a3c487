"""The graph that ships computes what was trained, whatever the window, and padding changes nothing."""

from __future__ import annotations

import numpy as np
import pytest
from made_genomes import complement, random_codes
from numpy.typing import NDArray

torch = pytest.importorskip("torch", reason="training needs torch (extra `export`)")
onnx = pytest.importorskip("onnx", reason="graphs are made with onnx (extra `export`)")

from edgeseq.session import Session  # noqa: E402
from export.architectures import BLOCK, SeedNet  # noqa: E402
from export.seed_graph import seed_graph  # noqa: E402
from export.seeds import Seed  # noqa: E402

Logits = NDArray[np.float32]

SPACED = Seed("11011011011011", 9973)
NETS = {
    "one seed": ((SPACED,), 1),
    "two seeds": ((SPACED, Seed("11111111", 4099)), 1),
    "longest seed": ((Seed("110110110011011011", 9973),), 1),
    "context": ((SPACED,), 5),
}
SHAPES = [(1, 16), (1, 32), (3, 256), (2, 1024), (5, 480)]


def made_net(seeds: tuple[Seed, ...] = (SPACED,), context: int = 1) -> SeedNet:
    """A small net with random weights that tell windows apart, and tables that float16 holds exactly."""
    torch.manual_seed(7)
    net = SeedNet(seeds, 8, 24, 5, context=context, hidden=16).eval()
    with torch.no_grad():
        for table in net.tables.parameters():
            table.copy_((4 * table).half().float())
        net.mix.weight.mul_(2)
        net.pool.second.weight.mul_(2)
    return net


def windows(rows: int, length: int) -> NDArray[np.uint8]:
    """Random windows; where there is room, N in the first and padding at the end of the last."""
    codes = random_codes(np.random.default_rng((rows, length)), rows * length).reshape(rows, length)
    codes[0, length // 2 : length // 2 + 3] = 4
    codes[-1, length - length // 4 :] = 5
    return codes


def trained(net: SeedNet, codes: NDArray[np.uint8]) -> Logits:
    with torch.no_grad():
        return np.asarray(net(torch.from_numpy(codes)).numpy())


def shipped(session: Session, codes: NDArray[np.uint8]) -> Logits:
    return np.asarray(session.run({"input_ids": codes.astype(np.int64)})["logits"])


@pytest.mark.parametrize("precision", ["fp16", "fp32"])
@pytest.mark.parametrize("kind", NETS)
def test_the_runtime_gives_the_trained_logits(kind: str, precision: str) -> None:
    net = made_net(*NETS[kind])
    session = Session(seed_graph(net, precision=precision).SerializeToString())
    for rows, length in SHAPES:
        codes = windows(rows, length)
        expected = trained(net, codes)
        assert np.abs(shipped(session, codes) - expected).max() <= 1e-4
        assert rows == 1 or np.ptp(expected, axis=0).max() > 0.05, "windows that look alike would prove nothing"


def test_half_precision_rounds_the_tables_and_nothing_else() -> None:
    net = made_net()
    (table,) = net.tables.parameters()
    with torch.no_grad():
        table.mul_(1.0003)
    codes = windows(3, 256)
    exact, rounded = (
        shipped(Session(seed_graph(net, precision=p).SerializeToString()), codes) for p in ("fp32", "fp16")
    )
    with torch.no_grad():
        table.copy_(table.half().float())
    assert np.abs(exact - rounded).max() > 1e-6
    assert np.abs(trained(net, codes) - rounded).max() <= 1e-5


@pytest.mark.parametrize("kind", NETS)
@pytest.mark.parametrize("length", [256, 250])
def test_padding_changes_no_logit(kind: str, length: int) -> None:
    net = made_net(*NETS[kind])
    session = Session(seed_graph(net).SerializeToString())
    short = np.full((1, 256), 5, np.uint8)
    short[0, :length] = random_codes(np.random.default_rng(3), length)
    for longer in (272, 512, 1024):
        padded = np.pad(short, ((0, 0), (0, longer - 256)), constant_values=5)
        assert np.abs(shipped(session, padded) - shipped(session, short)).max() <= 1e-5
        assert np.abs(trained(net, padded) - trained(net, short)).max() <= 1e-5


def test_a_row_does_not_depend_on_the_others_in_its_batch() -> None:
    session = Session(seed_graph(made_net()).SerializeToString())
    codes = windows(4, 256)
    alone = np.concatenate([shipped(session, codes[row : row + 1]) for row in range(4)])
    assert np.abs(shipped(session, codes) - alone).max() <= 1e-5


def test_windows_without_a_known_base_have_finite_logits() -> None:
    session = Session(seed_graph(made_net()).SerializeToString())
    nothing = np.stack([np.full(64, 4), np.full(64, 5)]).astype(np.uint8)
    assert np.isfinite(shipped(session, nothing)).all()


@pytest.mark.parametrize("length", [256, 1008])
def test_both_strands_have_the_same_embeddings_but_not_the_same_blocks(length: int) -> None:
    """What the net sees of a window is the same on both strands; a seed is counted in the block where it starts, so
    that the last few bases of a block fall to its neighbour on the other strand."""
    net = made_net()
    codes = random_codes(np.random.default_rng(5), length)[None, :]
    flipped = complement(codes[0])[None, :]
    with torch.no_grad():
        forward, backward = (net.block_sums(torch.from_numpy(strand)).numpy()[0] for strand in (codes, flipped))
    assert forward.shape == (length // BLOCK, 8)
    np.testing.assert_allclose(forward.sum(0), backward.sum(0), atol=1e-4)
    assert np.abs(forward - backward[::-1]).max() > 0.1
