"""DNABERT-2 (Zhou et al. 2024): MosaicBERT on learned words of DNA."""

from __future__ import annotations

from edgeseq.manifest import TaskKind
from export.checkpoint import Checkpoint
from export.errors import FamilyError
from export.families.bert import SWITCHES, TASKS, activation_of, bert_layout, make_head, task_and_default
from export.network import Model, Request
from export.networks.mosaic_bert import MosaicBert, MosaicShape
from export.operators.gelu import gelu
from export.settings import Settings
from export.switches import refuse_switches
from export.tasks import output_names
from export.tokenizer import tokenizer_spec
from export.weights import load_weights

HEAD_EPSILON = 1e-12
"""Of the norm in the masked-language-model head, whatever the configuration says."""
TRAINED_LENGTH = 512
_BLOCKS = (
    (r"attention\.self\.Wqkv\.(.+)", r"qkv.\2"),
    (r"attention\.output\.dense\.(.+)", r"mix.\2"),
    (r"attention\.output\.LayerNorm\.(.+)", r"mix_norm.\2"),
    (r"mlp\.gated_layers\.(.+)", r"gated.\2"),
    (r"mlp\.wo\.(.+)", r"narrow.\2"),
    (r"mlp\.layernorm\.(.+)", r"narrow_norm.\2"),
)


class DnaBert2:
    """Reads DNABERT-2 checkpoints, and others of MosaicBERT's layout."""

    name = "DNABERT-2"
    tokenizer = "4,096 learned words (BPE)"
    tasks: tuple[TaskKind, ...] = TASKS
    max_length = "512 tokens; longer with --max-length, as there is no table of positions"
    proven = "golden outputs"
    options: dict[str, str] = {}  # noqa: RUF012

    def recognises(self, checkpoint: Checkpoint) -> bool:
        """Its tensors: one weight for query, key and value, and a gated feed-forward."""
        return checkpoint.config.get("model_type") in (None, "bert") and all(
            any(name.endswith(f"encoder.layer.0.{part}.weight") for name in checkpoint.tensors)
            for part in ("attention.self.Wqkv", "mlp.gated_layers")
        )

    def read(self, checkpoint: Checkpoint, request: Request) -> Model:
        settings = Settings(checkpoint.config, checkpoint.config_file)
        refuse_switches(checkpoint, {**SWITCHES, "hidden_act": ("gelu",)})
        task = task_and_default(checkpoint, request)
        shape = MosaicShape(
            width=settings.whole("hidden_size"),
            inner=settings.whole("intermediate_size"),
            heads=settings.whole("num_attention_heads"),
            layers=settings.whole("num_hidden_layers"),
            vocabulary=settings.whole("vocab_size"),
            types=settings.whole("type_vocab_size", 2),
            epsilon=settings.number("layer_norm_eps", 1e-12),
        )
        if shape.width % shape.heads:
            raise FamilyError(
                checkpoint.config_file,
                f"num_attention_heads is {shape.heads}, which does not divide {shape.width} channels",
            )
        head, outputs = make_head(checkpoint, task, shape.width, shape.vocabulary, HEAD_EPSILON, gelu)
        network = MosaicBert(shape, head)
        layout = bert_layout(checkpoint, head, _BLOCKS)
        loaded = load_weights(network, checkpoint.tensors, layout, checkpoint, task=task)
        trained = max(settings.whole("max_position_embeddings", TRAINED_LENGTH), TRAINED_LENGTH)
        return Model(
            network=network,
            task=task,
            labels=output_names(checkpoint, request, task, outputs),
            activation=activation_of(checkpoint),
            tokenizer=tokenizer_spec(checkpoint.folder),
            max_length=request.max_length or trained,
            loaded=loaded,
            notes=(
                "Rows longer than the trained ones run as well; attention takes heads × length² × 4 bytes of memory.",
            ),
        )


FAMILY = DnaBert2()
