"""Graphs in onnxruntime against the same modules in PyTorch eager, and against the graph that a stock export makes.

    python benchmarks/families.py [--family ESM-2 …] [--rounds 5] [--threads 2] [--tokens 512] [--clock processor]

Each family's module gets the shape of a published model (cut in depth where that takes minutes, which changes both
sides alike) and random weights. Every variant runs in a process of its own, since the idle threads of one engine slow
the next; the variants take turns, round by round. A row has the median milliseconds of eager, and ratios to it or to
the stock graph: the median over the rounds, and their range. More than 1 means that ours is faster.

eager     the module, `torch.inference_mode`; its attention is the fused one of torch
graph     what `python -m export` writes, by onnxruntime as it comes, one run for the whole batch
callers   the same graph as `edgeseq` runs it: as many callers as threads, each with an engine of one thread and some
          rows at a time; a batch of one row keeps one caller busy, so that ``graph`` stands for it
products  only the time that onnxruntime spends in the graph's matrix products and convolutions, in runs like those of
          ``callers``: no graph of the same products can beat eager by more than this
library   the same model of the transformers library, PyTorch, as it comes; "–" for families that it does not have
stock     the module's plain torch form through the same exporter, onnxruntime alone; "–" where that fails

The last three are compared with ``callers``, in a batch of one row with ``graph``.

On a machine that is busy with something else, ``--threads 1 --clock processor`` compares what each variant costs.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.process import ProgramError, measure

BATCHES = (1, 8)
SECONDS = 1.5
"""How long each process goes on with runs that count."""
PRODUCTS = ("MatMul", "FusedMatMul", "Gemm", "FusedGemm", "Conv", "FusedConv")
Clock = Callable[[], float]
CLOCKS: dict[str, Clock] = {"wall": time.perf_counter, "processor": time.process_time}


def timed(run: Callable[[], object], clock: Clock) -> float:
    """Median seconds of a run, over as many as fit into `SECONDS` but at least one; another goes before."""
    taken: list[float] = []
    began = time.perf_counter()
    while len(taken) < 2 or (time.perf_counter() - began < SECONDS and len(taken) < 200):
        start = clock()
        run()
        taken.append(clock() - start)
    return statistics.median(taken[1:])


def run_graph(path: Path, ids: Path, threads: int, clock: Clock) -> float:
    """Seconds of a run of a graph by onnxruntime as it comes."""
    import onnxruntime

    with np.load(ids) as stored:
        inputs = dict(stored)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(path.read_bytes(), options, providers=["CPUExecutionProvider"])
    return timed(lambda: session.run(None, inputs), clock)


def run_callers(path: Path, ids: Path, threads: int, clock: Clock) -> float:
    """Seconds of a batch, some rows at a time, by as many callers as threads."""
    from edgeseq.session import Session

    parts = list(in_parts(path, ids, threads))
    session = Session(path.read_bytes())
    with ThreadPoolExecutor(threads) as callers:
        return timed(lambda: list(callers.map(session.run, parts)), clock)


def run_ours(path: Path, ids: Path, threads: int, clock: Clock) -> float:
    """Seconds of a batch as `edgeseq` runs it; of one row, with all threads."""
    return (run_graph if rows_of(ids) == 1 else run_callers)(path, ids, threads, clock)


def run_products(path: Path, ids: Path, threads: int, clock: Clock) -> float:
    """Seconds of a batch times the share that `PRODUCTS` have in it, as the engine profiles itself."""
    import onnxruntime

    alone = rows_of(ids) == 1
    parts = list(in_parts(path, ids, threads))
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(1 if alone else threads) as callers:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads if alone else 1
        options.enable_profiling = True
        options.profile_file_prefix = str(Path(folder, "profile"))
        session = onnxruntime.InferenceSession(path.read_bytes(), options, providers=["CPUExecutionProvider"])
        seconds = timed(lambda: list(callers.map(lambda part: session.run(None, part), parts)), clock)
        events = json.loads(Path(session.end_profiling()).read_text())
    spent = {True: 0.0, False: 0.0}
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith("kernel_time"):
            spent[event["args"]["op_name"] in PRODUCTS] += event["dur"]
    return seconds * spent[True] / (spent[True] + spent[False])


def rows_of(ids: Path) -> int:
    """Rows of a stored batch."""
    with np.load(ids) as stored:
        return len(next(iter(stored.values())))


def in_parts(path: Path, ids: Path, threads: int) -> Iterator[dict[str, NDArray[Any]]]:
    """A batch as `edgeseq` gives it to its processors: some rows at a time, and each of them has some."""
    from edgeseq.scorer import HEAVY_GRAPH, HEAVY_TOKENS, RUN_TOKENS

    with np.load(ids) as stored:
        inputs = dict(stored)
    rows, length = next(iter(inputs.values())).shape[:2]
    most = (HEAVY_TOKENS if path.stat().st_size > HEAVY_GRAPH else RUN_TOKENS) // length
    step = max(1, min(most, -(-rows // threads)))
    for start in range(0, rows, step):
        yield {name: array[start : start + step] for name, array in inputs.items()}


def run_eager(family: str, ids: Path, threads: int, clock: Clock) -> float:
    """Seconds of a run of the module by PyTorch."""
    import torch

    from benchmarks.shapes import SHAPES

    torch.set_num_threads(threads)
    network = SHAPES[family]().eval()
    with np.load(ids) as stored:
        inputs = [torch.from_numpy(stored[one.name]) for one in network.inputs]
    with torch.inference_mode():
        return timed(lambda: network(*inputs), clock)


def run_library(family: str, ids: Path, threads: int, clock: Clock) -> float:
    """Seconds of a run of the library's module by PyTorch."""
    import torch

    from benchmarks.peers import peer

    torch.set_num_threads(threads)
    module = peer(family)
    with np.load(ids) as stored:
        inputs = {name: torch.from_numpy(array) for name, array in stored.items()}
    with torch.inference_mode():
        return timed(lambda: module(**inputs), clock)


def prepare(family: str, folder: Path, tokens: int) -> dict[str, Path]:
    """Files of a family: graph, stock graph (absent where the exporter fails), and the inputs of each batch size."""
    import torch

    from benchmarks.shapes import SHAPES
    from export.operators.engine import plain
    from export.tracing import example_input, trace

    network = SHAPES[family]().eval()
    output = (
        "logits"
        if "logits" in network(*(example_input(network, i, 1, 24) for i in range(len(network.inputs))))
        else "last_hidden_state"
    )
    files = {"graph": folder / "graph.onnx"}
    files["graph"].write_bytes(trace(network, (output,)).SerializeToString())
    try:
        with plain():
            stock = trace(network, (output,), strict=False)
        files["stock"] = folder / "stock.onnx"
        files["stock"].write_bytes(stock.SerializeToString())
    except (torch.onnx.errors.OnnxExporterError, RuntimeError, ValueError) as error:
        print(f"{family}: a stock export fails: {str(error).splitlines()[0]}", file=sys.stderr)
    for batch in BATCHES:
        inputs = {one.name: example_input(network, i, batch, tokens).numpy() for i, one in enumerate(network.inputs)}
        files[f"batch{batch}"] = folder / f"batch{batch}.npz"
        np.savez(files[f"batch{batch}"], **inputs)  # type: ignore[arg-type]
    return files


def compare(family: str, rounds: int, threads: int, tokens: int, clock: str, skipped: tuple[str, ...]) -> None:
    """Prints the rows of a family."""
    from benchmarks.peers import PEERS

    with tempfile.TemporaryDirectory() as name:
        files = prepare(family, Path(name), tokens)
        for batch in BATCHES:
            taken: dict[str, list[float]] = {variant: [] for variant in VARIANTS}
            for _ in range(rounds):
                for variant, seconds in taken.items():
                    graph = files.get("stock" if variant == "stock" else "graph")
                    if graph is None or (variant == "library" and family not in PEERS):
                        continue
                    if variant in skipped or (variant == "callers" and batch == 1):
                        continue
                    argv = [sys.executable, __file__, "--child", variant, family, str(graph)]
                    argv += [str(files[f"batch{batch}"]), str(threads), clock]
                    try:
                        seconds.append(json.loads(measure(argv).output))
                    except ProgramError as error:
                        print(f"{family}: {variant}: {error}", file=sys.stderr)
            row = f"{family:<20} {batch:>5} {1e3 * statistics.median(taken['eager']):>9.1f} ms"
            ours = taken["callers"] or taken["graph"]
            pairs = [ratio(taken["eager"], taken[each]) for each in ("graph", "callers", "products")]
            pairs += [ratio(taken[each], ours) for each in ("library", "stock")]
            print(row, *pairs, flush=True)


def ratio(slower: list[float], faster: list[float]) -> str:
    """Median and range of the ratios, round by round."""
    ratios = sorted(a / b for a, b in zip(slower, faster, strict=False))
    if not ratios:
        return f"{'–':>17}"
    return f"{statistics.median(ratios):>4.2f} ({ratios[0]:.2f}–{ratios[-1]:.2f})".rjust(17)


GRAPHS: dict[str, Callable[[Path, Path, int, Clock], float]] = {
    "graph": run_graph,
    "callers": run_callers,
    "products": run_products,
    "stock": run_ours,
}
VARIANTS = ("eager", "library", *GRAPHS)


def main() -> None:
    """The table."""
    warnings.simplefilter("ignore")
    if sys.argv[1:2] == ["--child"]:
        variant, family, graph, ids, threads, name = sys.argv[2:]
        clock = CLOCKS[name]
        modules = {"eager": run_eager, "library": run_library}
        taken = (
            modules[variant](family, Path(ids), int(threads), clock)
            if variant in modules
            else GRAPHS[variant](Path(graph), Path(ids), int(threads), clock)
        )
        print(json.dumps(taken))
        return
    from benchmarks.shapes import SHAPES

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--family", action="append", choices=list(SHAPES), help="Only these (repeatable).")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--tokens", type=int, default=512)
    parser.add_argument("--skip", action="append", default=[], choices=VARIANTS[1:], help="Not this (repeatable).")
    parser.add_argument("--clock", choices=list(CLOCKS), default="wall", help="What is counted.")
    options = parser.parse_args()
    print(f"{options.tokens} tokens, {options.threads} threads, {options.rounds} rounds, {options.clock} time")
    names = " ".join(
        f"{name:>17}"
        for name in ("eager ÷ graph", "eager ÷ callers", "eager ÷ products", "library ÷ ours", "stock ÷ ours")
    )
    print(f"{'family':<20} {'batch':>5} {'eager':>12} {names}", flush=True)
    for family in options.family or SHAPES:
        compare(family, options.rounds, options.threads, options.tokens, options.clock, tuple(options.skip))


if __name__ == "__main__":
    main()
