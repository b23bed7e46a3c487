"""GPN (Benegas et al. 2023): dilated convolutions over a window of bases, without positions or masks.

The output at a base depends on where the window ends (zeros stand beyond it), so padding is not exact.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from edgeseq.manifest import TaskKind
from export.checkpoint import Checkpoint
from export.network import Model, Network, Outputs, Request
from export.settings import Settings
from export.tasks import output_names, task_of
from export.tokenizer import tokenizer_spec
from export.weights import Layout, load_weights

LONGEST = 512
"""The window that the published models were trained with, in bases; longer ones run as well."""


class _ConvLayer(nn.Module):
    """``x + conv(x)``, then ``x + ffn(x)``, each behind a norm: (batch × length × width)."""

    def __init__(self, width: int, inner: int, kernel: int, dilation: int, bias: bool) -> None:
        super().__init__()
        padding = dilation * (kernel - 1) // 2
        self.conv = nn.ModuleDict(
            {
                "0": nn.LayerNorm(width, bias=bias),
                "2": nn.Conv1d(width, width, kernel, padding=padding, dilation=dilation, bias=bias),
                "5": nn.Linear(width, width, bias=bias),
            }
        )
        self.ffn = nn.ModuleDict(
            {
                "0": nn.LayerNorm(width, bias=bias),
                "1": nn.Linear(width, inner, bias=bias),
                "3": nn.Linear(inner, width, bias=bias),
            }
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        inner = self.conv["2"](self.conv["0"](x).transpose(1, 2)).transpose(1, 2)
        x = x + self.conv["5"](functional.gelu(inner))
        return x + self.ffn["3"](functional.gelu(self.ffn["1"](self.ffn["0"](x))))


class _GpnNetwork(Network):
    """One-hot bases through the layers; a head on every base, or on the mean over all of them."""

    def __init__(self, settings: Settings, task: TaskKind) -> None:
        super().__init__()
        self.width, self.vocabulary = settings.whole("hidden_size"), settings.whole("vocab_size")
        bias = settings.flag("bias", False)
        layers = [
            _ConvLayer(
                self.width,
                settings.whole("intermediate_size"),
                settings.whole("first_kernel_size", 9) if number == 0 else settings.whole("rest_kernel_size", 5),
                _dilation(settings, number),
                bias,
            )
            for number in range(settings.whole("num_hidden_layers"))
        ]
        self.layer = nn.ModuleList(layers)
        self.ln_f = nn.LayerNorm(self.width, bias=bias)
        self.head: nn.Module | None = None
        if task == "masked-lm":
            self.head = nn.ModuleDict(
                {
                    "0": nn.Linear(self.width, self.width, bias=bias),
                    "2": nn.LayerNorm(self.width, bias=bias),
                    "decoder": nn.Linear(self.width, self.vocabulary, bias=bias),
                }
            )

    def forward(self, *inputs: torch.Tensor) -> Outputs:
        x = functional.one_hot(inputs[0], self.width).to(torch.float32)
        for layer in self.layer:
            x = layer(x)
        hidden = self.ln_f(x)
        outputs = {"last_hidden_state": hidden}
        if isinstance(self.head, nn.ModuleDict):
            outputs["logits"] = self.head["decoder"](self.head["2"](functional.gelu(self.head["0"](hidden))))
        return outputs


def _dilation(settings: Settings, number: int) -> int:
    cycle, every = settings.whole("dilation_cycle", 6), settings.whole("dilation_double_every", 1)
    return int(
        min(settings.whole("dilation_max", 32), settings.whole("dilation_base", 2) ** ((number % cycle) // every))
    )


class Gpn:
    """Reads GPN checkpoints."""

    name = "GPN"
    tokenizer = "single bases"
    tasks: tuple[TaskKind, ...] = ("masked-lm", "embedding")
    max_length = "512 bases (windows)"
    proven = "golden outputs"
    options: dict[str, str] = {}  # noqa: RUF012

    def recognises(self, checkpoint: Checkpoint) -> bool:
        return checkpoint.config.get("model_type") == "GPN" and checkpoint.config.get("encoder") == "convnet"

    def read(self, checkpoint: Checkpoint, request: Request) -> Model:
        settings = Settings(checkpoint.config, checkpoint.config_file)
        task = task_of(checkpoint, request, self.tasks, "masked-lm")
        network = _GpnNetwork(settings, task)
        layout = Layout(
            renames=(
                (r"model\.encoder\.(.+)", r"\1"),
                (r"model\.(.+)", r"\1"),
                (r"cls\.transform\.(.+)", r"head.\1"),
                (r"cls\.(decoder.+)", r"head.\1"),
            ),
        )
        loaded = load_weights(network, checkpoint.tensors, layout, checkpoint)
        return Model(
            network=network,
            task=task,
            labels=output_names(checkpoint, request, task, 0),
            tokenizer=tokenizer_spec(checkpoint.folder),
            max_length=request.max_length or LONGEST,
            loaded=loaded,
            pads_exactly=False,
        )


FAMILY = Gpn()
