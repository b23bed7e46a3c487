"""Networks of the families in the shapes of published models, with random weights, to be timed.

Widths, heads and vocabularies are the published ones. The depth is cut where a run would take minutes; a head, which
would then be more of the work than it is, is left out with it. Evo's width is a quarter and half of the published. A
function's docstring names the model and what was cut. Sizes are those of the published configurations and papers; those
of two models follow from what is known of their files: NTv3 8M with 256 first channels has exactly its 7,692,475
parameters, and GPN's animal promoters with 64 slim layers of 1,024 channels the size of its file, 609 MB.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeVar

import torch
from torch.nn import functional

from export.families.hyenadna import LARGEST_TABLES
from export.families.striped_hyena import folds
from export.network import Network
from export.networks.bert import Bert, BertShape
from export.networks.caduceus import CaduceusHead, CaduceusNetwork, CaduceusShape
from export.networks.esm import EsmNetwork, EsmShape
from export.networks.gpn import Encoder, GpnHead, GpnNetwork, GpnShape
from export.networks.gpn_msa import GpnMsaNetwork, GpnMsaShape
from export.networks.heads import MaskedHead
from export.networks.hyenadna import HyenaLanguageNetwork, HyenaShape
from export.networks.mamba import MambaShape
from export.networks.mosaic_bert import MosaicBert, MosaicShape
from export.networks.mxdna import MxdnaNetwork, MxdnaShape
from export.networks.ntv3 import Ntv3Network
from export.networks.ntv3 import Shape as Ntv3Shape
from export.networks.striped_hyena import Mixing, StripedNetwork, StripedShape
from export.operators.gelu import gelu

Made = TypeVar("Made", bound=Network)


def esm2() -> Network:
    """ESM-2 8M."""
    return _esm(width=320, heads=20, layers=6, inner=1280, vocabulary=33, positions=1026)


def esm1b() -> Network:
    """ESM-1b and ESM-1v: 1 of 33 layers, without the head."""
    return _esm(
        width=1280, heads=20, layers=1, inner=5120, vocabulary=33, positions=1026, head=False, learned=True, norm=True
    )


def nt_v1() -> Network:
    """Nucleotide Transformer v1 500M: 1 of 24 layers, without the head."""
    return _esm(width=1280, heads=20, layers=1, inner=5120, vocabulary=4105, positions=1002, head=False, learned=True)


def nt_v2() -> Network:
    """Nucleotide Transformer v2 50M: 3 of 12 layers, without the head."""
    return _esm(width=512, heads=16, layers=3, inner=2048, vocabulary=4107, positions=2050, head=False, gated=True)


def ntv3() -> Network:
    """Nucleotide Transformer v3 8M."""
    shape = Ntv3Shape(
        vocabulary=11,
        token=16,
        first=256,
        width=256,
        halvings=7,
        layers=2,
        heads=8,
        head_size=32,
        feed_forward=1024,
        eps=1e-5,
        repeats=True,
        odd=True,
        skips=True,
        head=True,
        head_layers=0,
        filler=10,
    )
    network = _filled(lambda: Ntv3Network(shape))
    network.fold()
    return network


def dnabert() -> Network:
    """DNABERT with words of 6 bases: 2 of 12 layers, without the head."""
    return _bert(vocabulary=4101)


def dnabert2() -> Network:
    """DNABERT-2 117M: 2 of 12 layers, without the head."""
    shape = MosaicShape(width=768, inner=3072, heads=12, layers=2, vocabulary=4096, types=2, epsilon=1e-12)
    return _filled(lambda: MosaicBert(shape, None))


def gena_lm() -> Network:
    """GENA-LM base: 2 of 12 layers, without the head."""
    return _bert(vocabulary=32000, first=True)


def gpn() -> Network:
    """GPN with its ConvNet encoder: 4 of 25 layers."""
    return _gpn("convnet", width=512, inner=2048, layers=4, dilations=(1, 2, 4, 8), taps=(9, 5, 5, 5))


def gpn_first() -> Network:
    """The first GPN (brassicales): 4 of 25 layers."""
    return _gpn("legacy", width=512, inner=512, layers=4, dilations=(1, 2, 4, 8), taps=(9, 9, 9, 9))


def gpn_bytenet() -> Network:
    """GPN with its ByteNet encoder (animal promoters): 4 of 64 layers."""
    return _gpn("bytenet", width=1024, inner=512, layers=4, dilations=(1, 2, 4, 8), taps=(9, 5, 5, 5))


def gpn_msa() -> Network:
    """GPN-MSA (sapiens) with 89 aligned species: 2 of 12 layers, and a table of positions for 512 bases."""
    shape = GpnMsaShape(
        vocabulary=6,
        species=89,
        species_vocabulary=5,
        width=768,
        inner=3072,
        heads=12,
        layers=2,
        positions=512,
        epsilon=1e-12,
        activation=gelu,
        turns_values=False,
    )
    return _filled(lambda: GpnMsaNetwork(shape, words=True))


def hyenadna_tiny() -> Network:
    """HyenaDNA tiny-1k."""
    return _hyenadna(width=128, layers=2, positions=1026)


def hyenadna_small() -> Network:
    """HyenaDNA small-32k."""
    return _hyenadna(width=256, layers=4, positions=32770)


def evo1() -> Network:
    """Evo 1 8k: 4 of 32 blocks, of a quarter of the width."""
    return _striped(
        width=1024,
        inner=2736,
        mixing=("complex", "complex", "attention", "complex"),
        taps=(0, 0, 0, 0),
        groups=(1024, 1024, 1024, 1024),
        active=(True, True, True, True),
        modes=8,
        bias=True,
    )


def evo2() -> Network:
    """Evo 2 1B: 4 of 25 blocks, one of each kind, of about half the width."""
    return _striped(
        width=1024,
        inner=2816,
        mixing=("short", "medium", "real", "attention"),
        taps=(7, 128, 0, 0),
        groups=(64, 64, 1024, 1024),
        active=(True, False, False, False),
        modes=16,
        bias=False,
    )


def caduceus_ph() -> Network:
    """Caduceus Ph 131k: 4 of 16 layers."""
    return _caduceus(both_strands=False)


def caduceus_ps() -> Network:
    """Caduceus PS 131k: 4 of 16 layers."""
    return _caduceus(both_strands=True)


def mxdna() -> Network:
    """MxDNA 100M: 2 of its layers before and 2 behind the ten kinds of units, without decoder and head."""
    sizes = range(1, 11)
    shape = MxdnaShape(
        vocabulary=10,
        width=512,
        heads=16,
        shared_heads=16,
        inner=2048,
        base_layers=2,
        unit_layers=2,
        experts=tuple((size, min((abs(size - each), each) for each in (1, 2, 4, 8, 16))[1]) for size in sizes),
        taps=3,
        epsilon=1e-5,
        turning=10000.0,
        activation=functional.silu,
        special=(0, 1, 2, 3),
        independent=True,
    )
    return _filled(lambda: MxdnaNetwork(shape, None, decodes=False, norms_again=False))


SHAPES: dict[str, Callable[[], Network]] = {
    "ESM-2": esm2,
    "ESM-1b": esm1b,
    "NT v1": nt_v1,
    "NT v2": nt_v2,
    "NTv3": ntv3,
    "DNABERT": dnabert,
    "DNABERT-2": dnabert2,
    "GENA-LM": gena_lm,
    "GPN ConvNet": gpn,
    "GPN first models": gpn_first,
    "GPN ByteNet": gpn_bytenet,
    "GPN-MSA": gpn_msa,
    "HyenaDNA tiny-1k": hyenadna_tiny,
    "HyenaDNA small-32k": hyenadna_small,
    "Evo 1": evo1,
    "Evo 2": evo2,
    "Caduceus Ph": caduceus_ph,
    "Caduceus PS": caduceus_ps,
    "MxDNA": mxdna,
}
"""What each family's row of the table is made with. Networks with the same name have the same weights each time."""


def _filled(make: Callable[[], Made]) -> Made:
    """What ``make`` makes, with random values instead of every parameter's zeros."""
    torch.manual_seed(0)
    network = make()
    with torch.no_grad():
        for name, value in network.named_parameters():
            if value.any():
                continue
            low, high = _RANGES.get(name.rpartition(".")[2], (-0.02, 0.02))
            value.uniform_(low, high)
    return network


_RANGES = {"poles": (-0.6, 0.6), "log_poles": (-0.5, -0.01), "A_log": (0.0, math.log(16))}
"""Of the parameters of recurrences and long filters, inside which they stay finite over long rows."""


def _esm(
    *,
    width: int,
    heads: int,
    layers: int,
    inner: int,
    vocabulary: int,
    positions: int,
    head: bool = True,
    learned: bool = False,
    norm: bool = False,
    gated: bool = False,
) -> Network:
    shape = EsmShape(
        width=width,
        heads=heads,
        layers=layers,
        inner=inner,
        vocabulary=vocabulary,
        positions=positions,
        epsilon=1e-5,
        rotary=not learned,
        token_dropout=not gated,
        norm_before=norm,
        gated=gated,
        feed_forward_bias=not gated,
        padding=1,
        mask=2,
    )
    return _filled(lambda: EsmNetwork(shape, MaskedHead(width, vocabulary, 1e-5, gelu, tied=True) if head else None))


def _bert(*, vocabulary: int, first: bool = False) -> Network:
    shape = BertShape(
        width=768,
        inner=3072,
        heads=12,
        layers=2,
        vocabulary=vocabulary,
        positions=512,
        types=2,
        epsilon=1e-12,
        activation=gelu,
        norm_first=first,
    )
    return _filled(lambda: Bert(shape, None))


def _gpn(
    encoder: Encoder, *, width: int, inner: int, layers: int, dilations: tuple[int, ...], taps: tuple[int, ...]
) -> Network:
    shape = GpnShape(
        encoder=encoder,
        vocabulary=7,
        width=width,
        inner=inner,
        taps=taps,
        dilations=dilations[:layers],
        depthwise=False,
        bias=encoder != "convnet",
        embedded=encoder == "bytenet",
    )
    return _filled(lambda: GpnNetwork(shape, GpnHead("words")))


def _hyenadna(*, width: int, layers: int, positions: int) -> Network:
    shape = HyenaShape(
        width=width,
        layers=layers,
        inner=4 * width,
        vocabulary=16,
        filter_width=64,
        features=5,
        inner_filters=2,
        taps=3,
        positions=positions,
        longest=positions,
        epsilon=1e-5,
        frequency=None,
    )
    network = _filled(lambda: HyenaLanguageNetwork(shape, tied=False))
    for name, value in network.named_buffers():
        if name.endswith(".z"):
            value.uniform_(-1.0, 1.0)
        elif name.endswith(".t"):
            value.copy_(torch.linspace(0, 1, positions)[None, :, None])
        else:
            value.copy_(torch.linspace(math.log(0.01) / 1.5, math.log(0.01) / 0.3, width))
    network.settle(fold=4 * layers * positions * width <= LARGEST_TABLES)
    return network


def _striped(
    *,
    width: int,
    inner: int,
    mixing: tuple[Mixing, ...],
    taps: tuple[int, ...],
    groups: tuple[int, ...],
    active: tuple[bool, ...],
    modes: int,
    bias: bool,
) -> Network:
    shape = StripedShape(
        width=width,
        heads=width // 128,
        inner=inner,
        vocabulary=512,
        mixing=mixing,
        active=active,
        taps=taps,
        groups=groups,
        modes=modes,
        featuriser=3,
        epsilon=1e-6,
        longest=8192,
        positions_per_step=1.0,
        input_bias=bias,
        featuriser_bias=bias,
        attention_bias=True,
        output_bias=True,
        tied=True,
        final_norm=True,
    )
    network = _filled(lambda: StripedNetwork(shape, masked=False))
    speeds = 10000.0 ** -(torch.arange(0, 128, 2) / 128)
    rows = torch.arange(3 * width)
    network.settle(speeds, columns=rows, attention_rows=rows, fold=folds(shape))
    return network


def _caduceus(*, both_strands: bool) -> Network:
    shape = CaduceusShape(
        vocabulary=16,
        layers=4,
        mixer=MambaShape(width=256, inner=512, states=16, taps=4, rank=16, bias=False, convolution_bias=True),
        epsilon=1e-5,
        rms=True,
        both_directions=True,
        tied_directions=True,
        strategy="add",
        both_strands=both_strands,
        swaps=True,
    )
    network = _filled(lambda: CaduceusNetwork(shape, CaduceusHead()))
    network.complement.copy_(torch.arange(16))
    network.fold()
    return network
