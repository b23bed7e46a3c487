"""Fewer hidden channels, for good, and what reads them fitted anew: smaller products without training.

Which channels leave, and what the readers' weights become, both follow from the second moments of what the readers see
on calibration rows. With their inverse H, the squared error that the readers' results gain by losing channel c, after
the best correction of all that stays, is tr(Wᶜᵀ (Hᶜᶜ)⁻¹ Wᶜ) (Hassibi & Stork 1993). Channels leave one by one, the
least harmful first, and each time weights and H are corrected.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from edgeseq.bundle import Bundle
from edgeseq.errors import UsageError
from quantize.calibrate import Rows
from quantize.channels import Hidden, Layout, Reader, hidden_channels
from quantize.graph import operators
from quantize.judge import scorer_of
from quantize.passes.dense import Dense
from quantize.rewriting import Rewriter, attribute

MULTIPLE = 8
"""What is kept is a multiple of this: what vector units take at a time."""
FIT_ROWS = 2048
"""Rows of each length bucket from which a fit takes what it needs."""
ENOUGH = 50
"""Rows for each channel that a fit looks at, where there are so many."""
RIDGE = 1e-4
"""Of the mean second moment, added to each: channels that nearly repeat others keep moderate weights."""

Moments = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Narrowed:
    """One operator's channels. ``unexplained``: the share of the variance of what its readers gave on calibration rows
    that they no longer give."""

    operator: str
    kept: int
    of: int
    unexplained: float
    samples: int

    def as_json(self) -> dict[str, Any]:
        return {"pass": "narrow", **asdict(self), "summary": f"{self.kept} of {self.of} channels stay"}

    def __str__(self) -> str:
        return (
            f"{self.operator}: {self.kept} of {self.of} channels stay; {100 * self.unexplained:.2f} % of what their "
            f"readers gave is lost, {self.samples} calibration rows"
        )


def wanted(texts: Sequence[str], bundle: Bundle) -> dict[str, float]:
    """Operator → the share of its channels that leaves, from ``SHARE`` (all that can) and ``OPERATOR=SHARE``.

    Raises UsageError for a share outside (0, 1) and for an operator without hidden channels, with those that have some.
    """
    if not texts:
        return {}
    model = onnx.load_from_string(bundle.graph)
    known = {each.maker: each.width for each in hidden_channels(model, operators(model, bundle.manifest.task.kind))}
    found: dict[str, float] = {}
    for text in texts:
        name, equals, number = text.rpartition("=")
        try:
            share = float(number)
        except ValueError:
            share = 0.0
        if not 0 < share < 1:
            raise UsageError(f"--narrow {text}: write SHARE or OPERATOR=SHARE, a share between 0 and 1")
        if (equals and name not in known) or not known:
            having = ", ".join(f"{name} ({width})" for name, width in known.items()) or "none"
            raise UsageError(f"--narrow {text}: operators with hidden channels: {having}")
        found |= {name: share} if equals else dict.fromkeys(known, share)
    return found


def narrow(bundle: Bundle, rows: Rows, shares: Mapping[str, float]) -> tuple[bytes, tuple[Narrowed, ...]]:
    """The graph with fewer channels, and what became of each operator. The same arguments give the same bytes.

    Raises UsageError where the shares are so small that no channel leaves.
    """
    model = onnx.load_from_string(bundle.graph)
    done: list[Narrowed] = []
    for name, share in shares.items():  # one after the other: a fit sees what the one before it left
        channels = hidden_channels(model, operators(model, bundle.manifest.task.kind))
        hidden = next(each for each in channels if each.maker in (name, _product(name)))
        keep = max(MULTIPLE, round(hidden.width * (1 - share) / MULTIPLE) * MULTIPLE)
        if keep >= hidden.width:
            continue
        rewriter = Rewriter(model)
        fits = [_Fit.of(rewriter, reader) for reader in hidden.readers]
        samples = _observe(bundle, model, fits, rows)
        kept = _choose(fits, hidden.width, keep)
        unexplained = max(fit.unexplained for fit in fits)
        model = _cut(rewriter, hidden, fits, kept)
        done.append(Narrowed(name, keep, hidden.width, round(unexplained, 6), samples))
    if not done:
        asked = ", ".join(f"{name}={share:g}" for name, share in shares.items())
        raise UsageError(f"--narrow {asked}: no channel leaves, since a multiple of {MULTIPLE} stays; ask for more")
    return bytes(model.SerializeToString(deterministic=True)), tuple(done)


def _product(operator: str) -> str:
    """What an operator is called once a sum with a fitted bias stands behind it and makes its result."""
    return f"{operator}_narrow_product"


class _Fit:
    """A reader's weights while channels leave: (inputs and one for the bias) × outputs."""

    def __init__(self, reader: Reader, dense: Dense, bias: str, start: NDArray[np.float64]) -> None:
        self.reader, self.dense, self.bias = reader, dense, bias
        self.weights = np.vstack([dense.weights.astype(np.float64), start[None]])
        self.moments: Moments = np.zeros((len(self.weights), len(self.weights)))
        self.samples = 0
        self._variance = 0.0
        self._lost = 0.0

    @classmethod
    def of(cls, rewriter: Rewriter, reader: Reader) -> _Fit:
        """``bias``: the sum behind a `MatMul` that holds its bias; empty where it has none of its own."""
        node = rewriter.maker(reader.node)
        assert node is not None
        dense = Dense.of(rewriter, node)
        outputs = dense.weights.shape[1]
        if dense.bias is not None:
            return cls(reader, dense, "", dense.bias.astype(np.float64))
        behind = rewriter.readers(reader.node)
        if len(behind) == 1 and behind[0].op_type == "Add" and node.op_type == "MatMul":
            other = next(name for name in behind[0].input if name != reader.node)
            value = rewriter.constant(other)
            if value is not None and value.shape == (outputs,):
                return cls(reader, dense, behind[0].output[0], value.astype(np.float64))
        return cls(reader, dense, "", np.zeros(outputs))

    @property
    def unexplained(self) -> float:
        return self._lost / max(self._variance, 1e-30)

    def see(self, data: NDArray[Any]) -> None:
        """More rows of what the reader reads."""
        flat = data.reshape(-1, data.shape[-1]).astype(np.float64)
        flat = np.hstack([flat, np.ones((len(flat), 1))])
        self.moments += flat.T @ flat
        self.samples += len(flat)

    def begin(self) -> None:
        """Inverts the moments."""
        self.moments /= self.samples
        means = self.moments[-1] @ self.weights
        self._variance = float(((self.weights * (self.moments @ self.weights)).sum(0) - means**2).sum())
        size = len(self.moments) - 1
        ridge = RIDGE * np.trace(self.moments[:size, :size]) / size
        self.moments[range(size), range(size)] += ridge
        self.inverse = np.linalg.inv(self.moments)

    def harm(self, places: NDArray[np.int64]) -> NDArray[np.float64]:
        """The share of the variance that each channel's leaving would cost; its ``places`` are (channels × repeats)."""
        blocks = self.inverse[places[:, :, None], places[:, None, :]]
        rows = self.weights[places]
        return np.asarray((rows * np.linalg.solve(blocks, rows)).sum((1, 2)) / max(self._variance, 1e-30))

    def leave(self, places: NDArray[np.int64]) -> None:
        """Takes one channel out and corrects the rest."""
        across = self.inverse[:, places]
        rows = self.weights[places]
        block = self.inverse[np.ix_(places, places)]
        part = np.linalg.solve(block, rows)
        self._lost += float((rows * part).sum())
        self.weights -= across @ part
        self.inverse -= across @ np.linalg.solve(block, across.T)
        self.weights[places] = 0.0
        self.inverse[places, :] = 0.0
        self.inverse[:, places] = 0.0


def _observe(bundle: Bundle, model: onnx.ModelProto, fits: Sequence[_Fit], rows: Rows) -> int:
    """Shows the fits what their readers read; the number of rows that each has seen at least."""
    probe = onnx.ModelProto()
    probe.CopyFrom(model)
    names = dict.fromkeys(fit.reader.data for fit in fits)
    probe.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    scorer = scorer_of(bundle, probe.SerializeToString(deterministic=True))
    order = np.random.default_rng(len(rows.batches)).permutation(len(rows.batches))
    for place in order.tolist():
        found = scorer.run_ids(rows.batches[place])
        for fit in fits:
            fit.see(found[fit.reader.data])
        if all(fit.samples >= ENOUGH * len(fit.weights) for fit in fits):
            break
    for fit in fits:
        fit.begin()
    return min(fit.samples for fit in fits)


def _choose(fits: Sequence[_Fit], width: int, keep: int) -> NDArray[np.int64]:
    """The channels that stay; the fits are left with the weights for them."""
    places = [_places(fit.reader.layout, width) for fit in fits]
    left = np.arange(width)
    while len(left) > keep:
        harm = np.sum([fit.harm(where[left]) for fit, where in zip(fits, places, strict=True)], axis=0)
        worst = int(left[int(np.argmin(harm))])
        for fit, where in zip(fits, places, strict=True):
            fit.leave(where[worst])
        left = left[left != worst]
    return left


def _places(layout: Layout, width: int) -> NDArray[np.int64]:
    """Channel → where it stands, (channels × repeats)."""
    return np.stack([np.flatnonzero(layout == channel) for channel in range(width)])


def _cut(rewriter: Rewriter, hidden: Hidden, fits: Sequence[_Fit], kept: NDArray[np.int64]) -> onnx.ModelProto:
    """The model with only the kept channels."""
    maker = rewriter.maker(hidden.maker)
    assert maker is not None
    made = Dense.of(rewriter, maker)
    ours = np.isin(hidden.columns, kept)
    _write(rewriter, maker, made.weights[:, ours], None if made.bias is None else made.bias[ours])
    for each in hidden.stored:
        node = rewriter.maker(each.node)
        assert node is not None
        value = rewriter.constant(node.input[each.place])
        assert value is not None
        stays = np.isin(each.layout, kept) | (each.layout < 0)
        node.input[each.place] = rewriter.store(f"{each.node}_{each.place}_narrow", value[..., stays])
    for fit in fits:
        node = rewriter.maker(fit.reader.node)
        assert node is not None
        stays = np.isin(fit.reader.layout, kept) | (fit.reader.layout < 0)
        weights, bias = fit.weights[:-1][stays].astype(np.float32), fit.weights[-1].astype(np.float32)
        if fit.bias:
            total = rewriter.maker(fit.bias)
            assert total is not None
            place = 1 - list(total.input).index(fit.reader.node)
            total.input[place] = rewriter.store(f"{fit.bias}_narrow", bias)
        _write(rewriter, node, weights, None if fit.bias else bias)
    return rewriter.finish()


def _write(
    rewriter: Rewriter, node: onnx.NodeProto, weights: NDArray[np.float32], bias: NDArray[np.float32] | None
) -> None:
    """Other weights for a dense layer; factors and transposition are in them."""
    result = node.output[0]
    if node.op_type == "Gemm":
        weights = weights.T if attribute(node, "transB", 0) else weights
        for each in node.attribute:
            if each.name in ("alpha", "beta"):
                each.f = 1.0
    node.input[1] = rewriter.store(f"{result}_narrow_weights", weights)
    if bias is None:
        return
    name = rewriter.store(f"{result}_narrow_bias", bias)
    if node.op_type == "Gemm":
        del node.input[2:]
        node.input.append(name)
        return
    if not bias.any():
        return
    total = onnx.helper.make_node("Add", [_product(result), name], [result])
    plain = onnx.NodeProto()
    plain.CopyFrom(node)
    plain.output[0] = _product(result)
    rewriter.replace(node, [plain, total])
