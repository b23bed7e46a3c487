"""HyenaDNA (Nguyen et al. 2023): gated long convolutions whose filters are small networks of the position."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional

from export.network import Network, Outputs
from export.operators.gelu import gelu
from export.operators.linear import tied_linear
from export.operators.long_convolution import SHORT, Spectrum, first_taps, long_convolution, radix_for, spectrum
from export.operators.short_convolution import short_convolution

_FLOOR = 0.05
"""What the window of a filter never falls below."""


@dataclass(frozen=True, slots=True)
class HyenaShape:
    """The sizes of a HyenaDNA model."""

    width: int
    layers: int
    inner: int
    vocabulary: int
    """Rows of the table of embeddings."""
    filter_width: int
    features: int
    """Of a position, ``emb_dim``."""
    inner_filters: int
    """Hidden layers of a filter's network after the first, ``num_inner_mlps``."""
    taps: int
    """Of the short convolution."""
    positions: int
    """Rows of the table of positions."""
    longest: int
    """Longest row in tokens, at most ``positions``."""
    epsilon: float
    """Of the last norm."""
    frequency: float | None
    """Of the filters' sines; None where it was trained, one for each of ``filter_width``."""
    modulated: bool = True
    """Whether filters fade with the distance."""


class _Filter(nn.Module):
    """The taps of one layer: length × width. With `fold`, a table; without, made from the positions in each pass."""

    def __init__(self, shape: HyenaShape) -> None:
        super().__init__()
        self.shape = shape
        wide = shape.filter_width
        self.bias = nn.Parameter(torch.zeros(shape.width))
        self.linear = nn.ModuleList(
            [nn.Linear(shape.features if number == 0 else wide, wide) for number in range(shape.inner_filters + 1)]
        )
        self.last = nn.Linear(wide, shape.width, bias=False)
        self.freq = nn.Parameter(torch.ones(1, wide)) if shape.frequency is None else None
        self.register_buffer("z", torch.zeros(1, shape.positions, shape.features))
        self.register_buffer("t", torch.zeros(1, shape.positions, 1))
        self.register_buffer("deltas", torch.zeros(1, 1, shape.width))
        self.table: torch.Tensor | None = None
        self.first = torch.zeros(0)
        self.z: torch.Tensor
        self.t: torch.Tensor
        self.deltas: torch.Tensor

    def fold(self) -> None:
        """Computes the taps up to the longest row, once and for all, or until they are taken back by `unfold`."""
        with torch.no_grad():
            self.table = self.made(self.shape.longest)

    def unfold(self) -> None:
        """Makes the taps anew in each pass, so that what they are made from can be trained."""
        self.table = None

    def shorten(self) -> None:
        """Forgets the positions beyond the longest row, and prepares for short ones."""
        self.z = self.z[:, : self.shape.longest].clone()
        self.t = self.t[:, : self.shape.longest].clone()
        with torch.no_grad():
            self.first = first_taps(self.made(SHORT))

    def made(self, length: int) -> torch.Tensor:
        """The taps computed from the positions. The layer's skip connection is part of the first."""
        freq = self.shape.frequency if self.freq is None else self.freq
        h = self.z[0, :length]
        for linear in self.linear:
            h = torch.sin(freq * linear(h))
        taps: torch.Tensor = self.last(h)
        if self.shape.modulated:
            taps = taps * (torch.exp(-self.t[0, :length] * self.deltas[0].abs()) + _FLOOR)
        return torch.cat((taps[:1] + self.bias, taps[1:]))

    def forward(self, length: int) -> torch.Tensor:
        return self.made(length) if self.table is None else self.table[:length]


class _Way(nn.Module):
    """One of the three that a row is projected to, after its short convolution."""

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor, taps: torch.Tensor, after: torch.Tensor) -> None:
        super().__init__()
        self.project = nn.Linear(weight.shape[1], weight.shape[0], bias=False)
        self.project.weight = nn.Parameter(weight.clone())
        self.taps = nn.Parameter(taps.clone())
        self.before = nn.Parameter(-bias)
        self.bias = nn.Parameter(taps.sum(dim=0) * bias + after)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The convolution of ``project(x) + b`` with nothing in front of the row is that of ``project(x)`` with ``-b``
        in front of it, plus a constant."""
        return short_convolution(self.project(x), self.taps, self.bias, before=self.before)

    def published(self) -> dict[str, torch.Tensor]:
        """This way's part of the weights that it was made from."""
        return {
            "in_proj.weight": self.project.weight.detach().clone(),
            "in_proj.bias": -self.before.detach(),
            "short_filter.weight": self.taps.detach().T[:, None].clone(),
            "short_filter.bias": (self.bias + self.taps.sum(dim=0) * self.before).detach(),
        }


class _Mixer(nn.Module):
    """The Hyena operator of order 2: ``x0 ⊙ (taps ∗ (v ⊙ x1))``."""

    def __init__(self, shape: HyenaShape) -> None:
        super().__init__()
        self.width = shape.width
        self.in_proj = nn.Linear(shape.width, 3 * shape.width)
        self.out_proj = nn.Linear(shape.width, shape.width)
        self.short_filter = nn.Conv1d(3 * shape.width, 3 * shape.width, shape.taps, groups=3 * shape.width)
        self.filter_fn = _Filter(shape)
        self.ways = nn.ModuleList()

    def split(self) -> None:
        """Makes one projection of three, as published, to three: nothing is cut apart in each pass."""
        with torch.no_grad():
            weights, biases = self.in_proj.weight.split(self.width), self.in_proj.bias.split(self.width)
            taps, after = self.short_filter.weight[:, 0].T.split(self.width, dim=1), self.short_filter.bias
            assert after is not None
            self.ways.extend(map(_Way, weights, biases, taps, after.split(self.width)))
        del self.in_proj, self.short_filter

    def joined(self) -> dict[str, torch.Tensor]:
        """The one projection and its short convolution, as published, of the three that `split` made."""
        parts: dict[str, list[torch.Tensor]] = {}
        for way in self.ways:
            assert isinstance(way, _Way)
            for name, value in way.published().items():
                parts.setdefault(name, []).append(value)
        return {name: torch.cat(values) for name, values in parts.items()}

    def forward(self, x: torch.Tensor, shared: Spectrum) -> torch.Tensor:
        x0, x1, v = (way(x) for way in self.ways)
        y = long_convolution(v * x1, self.filter_fn, self.filter_fn.first, shared)
        found: torch.Tensor = self.out_proj(y * x0)
        return found


class _Layer(nn.Module):
    def __init__(self, shape: HyenaShape) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(shape.width)
        self.mixer = _Mixer(shape)
        self.norm2 = nn.LayerNorm(shape.width)
        self.mlp = nn.ModuleDict(
            {"fc1": nn.Linear(shape.width, shape.inner), "fc2": nn.Linear(shape.inner, shape.width)}
        )

    def forward(self, x: torch.Tensor, shared: Spectrum) -> torch.Tensor:
        x = x + self.mixer(self.norm1(x), shared)
        found: torch.Tensor = x + self.mlp["fc2"](gelu(self.mlp["fc1"](self.norm2(x)), tanh=True))
        return found


class HyenaNetwork(Network):
    """Embeddings, layers and a last norm; ``head`` is the decoder or the classifier, if there is one."""

    relaid = r"layers\.\d+\.mixer\.ways\..+"

    def __init__(self, shape: HyenaShape) -> None:
        super().__init__()
        self.shape = shape
        self.embeddings = nn.Embedding(shape.vocabulary, shape.width)
        self.layers = nn.ModuleList([_Layer(shape) for _ in range(shape.layers)])
        self.ln_f = nn.LayerNorm(shape.width, eps=shape.epsilon)
        self.radix = radix_for(shape.longest)

    def settle(self, *, fold: bool) -> None:
        """What depends on weights only, computed once they are there: ``fold`` asks for tables of the filters."""
        for layer in self.layers:
            assert isinstance(layer, _Layer)
            layer.mixer.split()
            layer.mixer.filter_fn.shorten()
            if fold:
                layer.mixer.filter_fn.fold()

    def unfold(self) -> None:
        """Takes the tables of filters back: filters are computed in each pass, and can be trained."""
        for layer in self.layers:
            assert isinstance(layer, _Layer)
            layer.mixer.filter_fn.unfold()

    def published(self) -> dict[str, torch.Tensor]:
        found: dict[str, torch.Tensor] = {}
        for number, layer in enumerate(self.layers):
            assert isinstance(layer, _Layer)
            found |= {f"layers.{number}.mixer.{name}": value for name, value in layer.mixer.joined().items()}
        return found

    def hidden(self, ids: torch.Tensor) -> torch.Tensor:
        """The last hidden state: batch × length × width."""
        x = self.embeddings(ids)
        shared = spectrum(x, self.radix)
        for layer in self.layers:
            x = layer(x, shared)
        found: torch.Tensor = self.ln_f(x)
        return found

    def forward(self, *inputs: torch.Tensor) -> Outputs:
        return {"last_hidden_state": self.hidden(inputs[0])}


class HyenaLanguageNetwork(HyenaNetwork):
    """Logits for the next token at each position, by a decoder of its own or the embeddings."""

    def __init__(self, shape: HyenaShape, *, tied: bool) -> None:
        super().__init__(shape)
        self.head = None if tied else nn.Linear(shape.width, shape.vocabulary, bias=False)

    def forward(self, *inputs: torch.Tensor) -> Outputs:
        hidden = self.hidden(inputs[0])
        logits = tied_linear(hidden, self.embeddings.weight) if self.head is None else self.head(hidden)
        return {"logits": logits, "last_hidden_state": hidden}


class HyenaClassifierNetwork(HyenaNetwork):
    """Logits of a row: those of the position before its first ``pad``.

    A row that has no ``pad``, or begins with it, gives those of its last position.
    """

    def __init__(self, shape: HyenaShape, *, outputs: int, pad: int | None) -> None:
        super().__init__(shape)
        self.pad = pad
        self.head = nn.Linear(shape.width, outputs, bias=False)

    def forward(self, *inputs: torch.Tensor) -> Outputs:
        ids = inputs[0]
        hidden = self.hidden(ids)
        if self.pad is None:
            pooled = hidden[:, -1]
        else:
            last = ids.shape[1] - 1
            at = (ids == self.pad).to(torch.int64).argmax(dim=1) - 1
            at = torch.where(at < 0, torch.full_like(at, 1) * last, at)
            pooled = hidden.gather(1, at[:, None, None].expand(-1, 1, hidden.shape[2]))[:, 0]
        return {"logits": functional.linear(pooled, self.head.weight), "last_hidden_state": hidden}
