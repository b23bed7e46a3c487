"""Graphs in onnxruntime against the same modules in PyTorch eager, and against the graph that a stock export makes.

    python benchmarks/families.py [--family ESM-2 …] [--rounds 5] [--threads 2] [--tokens 512] [--clock processor]

Each family's module gets the shape of a published model (cut in depth where that takes minutes, which changes both
sides alike) and random weights. Every variant runs in a process of its own, since the idle threads of one engine slow
the next; the variants take turns, round by round. A row has the median milliseconds of eager, and the ratios eager ÷
graph and stock ÷ graph: the median over the rounds, and their range. More than 1 means that our graph is faster.

eager    the module, `torch.inference_mode`
graph    what `python -m export` writes, onnxruntime alone
stock    the module's plain torch form through the same exporter, onnxruntime alone; "–" where that fails

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
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.process import ProgramError, measure

BATCHES = (1, 8)
SECONDS = 1.5
"""How long each process goes on with runs that count."""
CLOCKS: dict[str, Callable[[], float]] = {"wall": time.perf_counter, "processor": time.process_time}


def timed(run: Callable[[], object], clock: Callable[[], float]) -> float:
    """Median seconds of a run, over as many as fit into `SECONDS` but no fewer than three; two more go before."""
    taken: list[float] = []
    began = time.perf_counter()
    while len(taken) < 5 or (time.perf_counter() - began < SECONDS and len(taken) < 200):
        start = clock()
        run()
        taken.append(clock() - start)
    return statistics.median(taken[2:])


def run_graph(path: Path, ids: Path, threads: int, clock: Callable[[], float]) -> float:
    """Seconds of a run of a graph by onnxruntime."""
    from edgeseq.session import Session

    with np.load(ids) as stored:
        inputs = dict(stored)
    session = Session(path.read_bytes(), threads=threads)
    return timed(lambda: session.run(inputs), clock)


def run_eager(family: str, ids: Path, threads: int, clock: Callable[[], float]) -> float:
    """Seconds of a run of the module by PyTorch."""
    import torch

    from benchmarks.shapes import SHAPES

    torch.set_num_threads(threads)
    network = SHAPES[family]().eval()
    with np.load(ids) as stored:
        inputs = [torch.from_numpy(stored[one.name]) for one in network.inputs]
    with torch.inference_mode():
        return timed(lambda: network(*inputs), clock)


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


def compare(family: str, rounds: int, threads: int, tokens: int, clock: str) -> None:
    """Prints the rows of a family."""
    with tempfile.TemporaryDirectory() as name:
        files = prepare(family, Path(name), tokens)
        for batch in BATCHES:
            taken: dict[str, list[float]] = {"eager": [], "graph": [], "stock": []}
            for _ in range(rounds):
                for variant, seconds in taken.items():
                    argv = [sys.executable, __file__, "--child", variant, family, str(files.get(variant, ""))]
                    argv += [str(files[f"batch{batch}"]), str(threads), clock]
                    if variant == "eager" or variant in files:
                        try:
                            seconds.append(json.loads(measure(argv).output))
                        except ProgramError as error:
                            print(f"{family}: {variant}: {error}", file=sys.stderr)
            row = f"{family:<28} {batch:>5} {1e3 * statistics.median(taken['eager']):>9.1f} ms"
            print(row, ratio(taken["eager"], taken["graph"]), ratio(taken["stock"], taken["graph"]), flush=True)


def ratio(slower: list[float], faster: list[float]) -> str:
    """Median and range of the ratios, round by round."""
    ratios = sorted(a / b for a, b in zip(slower, faster, strict=False))
    if not ratios:
        return f"{'–':>20}"
    return f"{statistics.median(ratios):>6.2f} ({ratios[0]:.2f}–{ratios[-1]:.2f})".rjust(20)


def main() -> None:
    """The table."""
    warnings.simplefilter("ignore")
    if sys.argv[1:2] == ["--child"]:
        variant, family, graph, ids, threads, name = sys.argv[2:]
        clock = CLOCKS[name]
        taken = (
            run_eager(family, Path(ids), int(threads), clock)
            if variant == "eager"
            else run_graph(Path(graph), Path(ids), int(threads), clock)
        )
        print(json.dumps(taken))
        return
    from benchmarks.shapes import SHAPES

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--family", action="append", choices=list(SHAPES), help="Only these (repeatable).")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--tokens", type=int, default=512)
    parser.add_argument("--clock", choices=list(CLOCKS), default="wall", help="What is counted.")
    options = parser.parse_args()
    print(f"{options.tokens} tokens, {options.threads} threads, {options.rounds} rounds, {options.clock} time")
    print(f"{'family':<28} {'batch':>5} {'eager':>12} {'eager ÷ graph':>20} {'stock ÷ graph':>20}")
    for family in options.family or SHAPES:
        compare(family, options.rounds, options.threads, options.tokens, options.clock)


if __name__ == "__main__":
    main()
