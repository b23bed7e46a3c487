"""GPN-MSA (Benegas et al. 2025): masked bases from their surroundings and an alignment of other genomes.

The graph takes ``aux_features`` beside ``input_ids``: for each base that of each aligned species, as published.
"""

from __future__ import annotations

from edgeseq.manifest import TaskKind
from export.checkpoint import Checkpoint
from export.errors import FamilyError
from export.network import Model, Request
from export.networks.gpn_msa import GpnMsaNetwork, GpnMsaShape
from export.operators.activations import ACTIVATIONS
from export.settings import Settings
from export.tasks import task_of
from export.tokenizer import tokenizer_spec
from export.weights import Layout, load_weights


class GpnMsa:
    """Reads GPN-MSA checkpoints."""

    name = "GPN-MSA"
    tokenizer = "single bases and gaps"
    tasks: tuple[TaskKind, ...] = ("masked-lm", "embedding")
    max_length = "128 bases (windows)"
    proven = "golden outputs"
    options: dict[str, str] = {}  # noqa: RUF012

    def recognises(self, checkpoint: Checkpoint) -> bool:
        return checkpoint.config.get("model_type") == "GPNRoFormer"

    def read(self, checkpoint: Checkpoint, request: Request) -> Model:
        settings = Settings(checkpoint.config, checkpoint.config_file)
        shape = _shape(settings)
        task = task_of(checkpoint, request, self.tasks, "masked-lm")
        longest = request.max_length or shape.positions
        if longest > shape.positions:
            raise FamilyError(checkpoint, f"its table has {shape.positions} positions; {longest} were asked for")
        network = GpnMsaNetwork(shape, words=task == "masked-lm")
        loaded = load_weights(network, checkpoint.tensors, _layout(task), checkpoint, task=task)
        return Model(
            network=network,
            task=task,
            tokenizer=tokenizer_spec(checkpoint.folder),
            max_length=longest,
            loaded=loaded,
            pads_exactly=False,
            notes=(
                (
                    f"Needs aux_features beside input_ids: the bases (0 gap, then ACGT) of {shape.species} species. "
                    "It cannot score reads that are not in an alignment."
                ),
            )
            if shape.species
            else (),
        )


def _shape(settings: Settings) -> GpnMsaShape:
    width, heads = settings.whole("hidden_size"), settings.whole("num_attention_heads")
    vocabulary = settings.whole("vocab_size")
    species_vocabulary, channels = (
        settings.whole("aux_features_vocab_size", 5),
        settings.whole("n_aux_features", 0, least=0),
    )
    if width % heads or width // heads % 2:
        settings.refuse("num_attention_heads", f"is {heads}; {width} channels are not that many heads of even size")
    if channels % species_vocabulary:
        settings.refuse("n_aux_features", f"is {channels}, not a multiple of aux_features_vocab_size")
    if vocabulary + channels > width:
        settings.refuse("n_aux_features", f"is {channels}; with {vocabulary} bases that is more than hidden_size")
    if settings.whole("embedding_size", width) != width:
        settings.refuse("embedding_size", "differs from hidden_size, which is not implemented")
    return GpnMsaShape(
        vocabulary=vocabulary,
        species=channels // species_vocabulary,
        species_vocabulary=species_vocabulary,
        width=width,
        inner=settings.whole("intermediate_size"),
        heads=heads,
        layers=settings.whole("num_hidden_layers"),
        positions=settings.whole("max_position_embeddings"),
        epsilon=settings.number("layer_norm_eps", 1e-12),
        activation=ACTIVATIONS[settings.text("hidden_act", "gelu", choices=tuple(ACTIVATIONS))],
        turns_values=settings.flag("rotary_value", False),
    )


def _layout(task: TaskKind) -> Layout:
    block, ours = r"(?:model\.)?encoder\.layer\.(\d+)\.", r"blocks.\1."
    return Layout(
        renames=(
            (r"(?:model\.)?encoder\.embed_positions\.weight", "positions"),
            (block + r"attention\.self\.(query|key|value)\.(.+)", ours + r"qkv.\2.\3"),
            (block + r"attention\.output\.dense\.(.+)", ours + r"mix.\2"),
            (block + r"attention\.output\.LayerNorm\.(.+)", ours + r"mix_norm.\2"),
            (block + r"intermediate\.dense\.(.+)", ours + r"widen.\2"),
            (block + r"output\.dense\.(.+)", ours + r"narrow.\2"),
            (block + r"output\.LayerNorm\.(.+)", ours + r"narrow_norm.\2"),
            (r"cls\.predictions\.transform\.dense\.(.+)", r"head.dense.\1"),
            (r"cls\.predictions\.transform\.LayerNorm\.(.+)", r"head.norm.\1"),
            (r"cls\.predictions\.(decoder\..+)", r"head.\1"),
        ),
        aliases=((r"cls\.predictions\.bias", "cls.predictions.decoder.bias"),),
        unused={} if task == "masked-lm" else {r"cls\..+": "head of another task"},
    )


FAMILY = GpnMsa()
