"""What runs on emulated Arm processors.

Tests marked ``arm`` use the cached environment, or build it where EDGESEQ_ARM=1.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest
from click.testing import CliRunner, Result
from numpy.typing import NDArray
from tiny_bundle import tiny_bundle

from devices.__main__ import main
from devices.arm import CORES, core_name, cpuinfo, guest_root
from devices.compare import Agreement, CompareError, agreement, compare
from devices.count import CountError, count
from devices.debian import DebianError
from devices.emulate import emulate, emulated, program
from devices.environment import Environment, cached_environment, clean_variables, environment
from devices.profiles import profiles
from devices.wheels import WheelError
from edgeseq.bundle import read_bundle
from edgeseq.cpu import SIMD, read_cpu
from edgeseq.errors import UsageError

Test = TypeVar("Test", bound=Callable[..., None])

ASKED = "EDGESEQ_ARM"
"""Set to 1 to build the environment for these tests where it is not cached."""


def on_arm(test: Test) -> Test:
    """The test with all marks of those that need an emulator."""
    marked: Test = pytest.mark.arm(pytest.mark.slow(pytest.mark.timeout(900)(test)))
    return marked


@pytest.fixture(scope="session")
def arm() -> Environment:
    """The environment of the user's own cache, which all tests share."""
    if platform.system() != "Linux" or platform.machine() not in ("x86_64", "aarch64"):
        pytest.skip("emulation needs Linux on x86-64 or aarch64")
    found = cached_environment()
    if found is not None:
        return found
    if os.environ.get(ASKED) != "1":
        pytest.skip(
            f"the aarch64 environment is not cached: run python -m devices emulate --build-only, or set {ASKED}=1"
        )
    try:
        return environment()
    except (DebianError, WheelError) as error:
        pytest.skip(f"the aarch64 environment cannot be built here: {error}")


@pytest.fixture
def reads(tmp_path: Path) -> Path:
    """Six reads that the tiny bundle calls a, b, other, and one that is too short."""
    random = np.random.default_rng(5)
    texts = ["A" * 100, "C" * 200, "ACGT" * 40, "AAC" * 50, "".join(random.choice(list("ACGT"), 300)), "ACG"]
    path = tmp_path / "reads.fastq"
    records = (f"@read{n}\n{text}\n+\n{'I' * len(text)}\n" for n, text in enumerate(texts))
    path.write_text("".join(records), encoding="utf-8")
    return path


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


# What needs no emulator.


def test_processors_are_asked_for_by_name_or_by_device() -> None:
    assert core_name("cortex-a53") == "cortex-a53"
    assert core_name("raspberry-pi-4") == "cortex-a72"
    assert core_name("raspberry-pi-5") == "cortex-a76"
    assert core_name("jetson-orin-nano") == "cortex-a76"


@pytest.mark.parametrize(
    ("asked", "problem"),
    [
        ("cortex-a77", "no processor is called 'cortex-a77'; did you mean cortex-a7"),
        ("raspberry-pi", "no processor is called 'raspberry-pi'; did you mean raspberry-pi-"),
        ("z80", "no processor is called 'z80'; known are cortex-a53"),
        ("max", "max is no device: it has every feature at once"),
        ("x86-64-avx2", "x86-64-avx2 cannot be emulated: its profile names no Arm processor"),
    ],
)
def test_processors_that_cannot_be_had(asked: str, problem: str) -> None:
    with pytest.raises(UsageError) as caught:
        core_name(asked)
    assert str(caught.value).startswith(problem)


def test_a_guest_sees_the_processor_that_it_runs_on(tmp_path: Path) -> None:
    (tmp_path / "usr").mkdir()
    with guest_root(tmp_path, "cortex-a76") as root:
        cpu = read_cpu(root / "proc/cpuinfo", "aarch64")
        assert (root / "usr").resolve() == tmp_path / "usr"
    assert cpu.name == "Arm Cortex-A76"
    assert cpu.features == ("asimd", "asimdhp", "asimddp")
    assert not root.exists()


def test_profiles_have_the_features_of_the_processors_that_stand_in_for_them(tmp_path: Path) -> None:
    for profile in profiles().values():
        if profile.cpu.qemu:
            text = tmp_path / "cpuinfo"
            text.write_text(cpuinfo(profile.cpu.qemu, 1), encoding="utf-8")
            assert read_cpu(text, "aarch64").features == profile.cpu.features, profile.name


def test_cpuinfo_has_a_block_for_each_core() -> None:
    for core in CORES:
        text = cpuinfo(core, 3)
        assert text.count("processor\t:") == 3
        assert set(SIMD["aarch64"]) & set(text.split())


def test_commands_that_a_guest_understands() -> None:
    assert program(["edgeseq", "score", "reads.fq"]) == ["-m", "edgeseq", "score", "reads.fq"]
    assert program([".venv/bin/edgeseq", "demo"]) == ["-m", "edgeseq", "demo"]
    assert program(["python3", "-c", "pass"]) == ["-c", "pass"]
    with pytest.raises(UsageError, match="'minimap2' does not run under emulation"):
        program(["minimap2", "x"])
    with pytest.raises(UsageError, match="no command; write it after --"):
        program([])


def test_guests_get_no_loader_settings_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LD_PRELOAD", "/usr/lib/x86_64-linux-gnu/libjemalloc.so")
    monkeypatch.setenv("PYTHONHOME", "/opt/python")
    monkeypatch.setenv("QEMU_CPU", "max")
    monkeypatch.setenv("TZ", "Europe/Vienna")
    found = clean_variables()
    assert not {"LD_PRELOAD", "PYTHONHOME", "QEMU_CPU"} & found.keys()
    assert found["TZ"] == "Europe/Vienna"


def test_errors_are_a_sentence_and_an_exit_code() -> None:
    usage = run("emulate", "--cpu", "cortex-a77", "--", "edgeseq", "demo")
    assert (usage.exit_code, usage.stderr.startswith("devices: no processor is called 'cortex-a77'")) == (2, True)
    nothing = run("emulate")
    assert (nothing.exit_code, "no command" in nothing.stderr) == (2, True)


def test_the_list_of_processors_says_what_is_cached() -> None:
    listed = run("emulate", "--list")
    assert listed.exit_code == 0
    assert "cortex-a76    dot products  jetson-orin-nano, raspberry-pi-5" in listed.stdout
    assert "Nothing is cached in " in listed.stdout


def test_devices_are_listed_and_described() -> None:
    assert [line.split()[0] for line in run("list").stdout.splitlines()] == list(profiles())
    described = run("list", "raspberry-pi-4").stdout
    assert "4 × Cortex-A72, 1.8 GHz" in described
    assert "no dot products in int8" in described
    assert "uint8 × uint8 on cpu: costs 28 % more instructions" in described
    assert '"raspberry-pi-4"' in run("list", "--json").stdout


def results(**changes: Any) -> dict[str, Any]:
    """Two reads and three labels on some machine."""
    return {
        "golden.0.logits": np.array([1.0, 2.0], np.float32),
        "labels": np.array(["a", "b"]),
        "values": np.array([0.5, 0.5, 0.0, 0.25, 0.75, 0.0], np.float32),
        **changes,
    }


def test_equal_results_agree_to_the_last_bit() -> None:
    found = agreement("x", "y", results(), results(), logarithms=True)
    assert found == Agreement("x", "y", calls=2, equal=2, difference=0.0, golden=0.0, bits=True)
    assert found.share == 1.0


def test_differences_are_of_logarithms_and_tiny_probabilities_are_equal() -> None:
    other = results(values=np.array([0.25, 0.75, 1e-12, 0.25, 0.75, 0.0], np.float32), labels=np.array(["b", "b"]))
    found = agreement("x", "y", results(), other, logarithms=True)
    assert (found.equal, found.share, found.bits) == (1, 0.5, False)
    assert found.difference == pytest.approx(np.log(2))
    assert agreement("x", "y", results(), other, logarithms=False).difference == pytest.approx(0.25)


def test_golden_cases_alone_can_be_compared() -> None:
    left, right = ({"golden.0.y": np.array([value], np.float32)} for value in (1.0, 1.5))
    found = agreement("x", "y", left, right, logarithms=True)
    assert (found.calls, found.share, found.golden, found.bits) == (0, 1.0, 0.5, False)


def test_machines_that_scored_different_reads_are_not_compared() -> None:
    with pytest.raises(CompareError, match="x and y did not score the same reads"):
        agreement("x", "y", results(), results(labels=np.array(["a"])), logarithms=True)


def test_bases_without_a_score_are_equal() -> None:
    values = np.array([np.nan, 0.5], np.float32)
    found = agreement("x", "y", results(values=values), results(values=values.copy()), logarithms=False)
    assert (found.difference, found.bits) == (0.0, True)


# What runs under emulation.


@on_arm
def test_guests_have_the_features_of_their_processor(arm: Environment) -> None:
    words = ["python", "-c", "import platform, edgeseq.cpu as c; print(platform.machine(), *c.read_cpu().features)"]
    found = {core: emulated(arm, core, words).stdout.split() for core in ("cortex-a72", "cortex-a76")}
    assert found == {
        "cortex-a72": ["aarch64", "asimd"],
        "cortex-a76": ["aarch64", "asimd", "asimdhp", "asimddp"],
    }


@on_arm
def test_exit_codes_are_the_guests_own(arm: Environment) -> None:
    assert emulate(arm, "cortex-a76", ["python", "-S", "-c", "raise SystemExit(7)"]) == 7
    killed = ["python", "-S", "-c", "import os, signal; os.kill(os.getpid(), signal.SIGTERM)"]
    assert emulate(arm, "cortex-a76", killed) == 128 + 15


@on_arm
def test_scoring_under_emulation_writes_the_same_calls(
    arm: Environment, run_edgeseq: Any, bundle_path: Path, reads: Path, tmp_path: Path
) -> None:
    here, there = tmp_path / "here.tsv", tmp_path / "there.tsv"
    assert run_edgeseq("score", reads, "-m", bundle_path, "-o", here).code == 0
    words = ["edgeseq", "score", str(reads), "-m", str(bundle_path), "-o", str(there)]
    done = emulated(arm, "cortex-a76", words)
    assert done.returncode == 0, done.stderr
    columns = [
        [line.split("\t")[:4] for line in path.read_text(encoding="utf-8").splitlines()] for path in (here, there)
    ]
    assert len(columns[0]) == 7
    assert columns[0] == columns[1]


@on_arm
def test_arm_processors_agree_with_each_other_bit_for_bit(arm: Environment, bundle_path: Path, reads: Path) -> None:
    found = compare(bundle_path, [str(reads)], built=arm)
    assert (found.reads, found.bases, found.unit) == (6, 913, "log-probability")
    assert [(pair.one, pair.other) for pair in found.pairs] == [
        ("this machine", "cortex-a72"),
        ("this machine", "cortex-a76"),
        ("cortex-a72", "cortex-a76"),
    ]
    assert all(pair.share == 1.0 for pair in found.pairs)
    assert found.pairs[2].bits
    assert 0.0 <= found.pairs[0].difference < 1e-4
    assert 0.0 <= found.pairs[0].golden < 1e-4


@pytest.fixture(scope="module")
def products(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A bundle, and two graphs for it that multiply 256 rows by 256 × 256 weights, as floats and as bytes."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    folder = tmp_path_factory.mktemp("products")
    random = np.random.default_rng(1)
    wide = random.normal(0, 1, (256, 256)).astype(np.float32)
    constants: dict[str, NDArray[Any]] = {
        "table": random.normal(0, 1, (6, 256)).astype(np.float32),
        "wide": wide,
        "bytes": np.clip(wide * 20, -63, 63).astype(np.int8),
        "zero": np.array(0, np.int8),
        "axis": np.array([1], np.int64),
        "head": random.normal(0, 1, (256, 3)).astype(np.float32),
    }
    front = [helper.make_node("Gather", ["table", "input_ids"], ["x"])]
    back = [
        helper.make_node("ReduceMean", ["y", "axis"], ["mean"], keepdims=0),
        helper.make_node("MatMul", ["mean", "head"], ["logits"]),
    ]
    middles = {
        "float": [helper.make_node("MatMul", ["x", "wide"], ["y"])],
        "bytes": [
            helper.make_node("DynamicQuantizeLinear", ["x"], ["q", "scale", "point"]),
            helper.make_node("MatMulInteger", ["q", "bytes", "point", "zero"], ["i"]),
            helper.make_node("Cast", ["i"], ["f"], to=TensorProto.FLOAT),
            helper.make_node("Mul", ["f", "scale"], ["y"]),
        ],
    }
    paths = {}
    for name, middle in middles.items():
        nodes = [*front, *middle, *back]
        used = {text for node in nodes for text in node.input}
        graph = helper.make_graph(
            nodes,
            name,
            [helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["batch", "length"])],
            [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 3])],
            [numpy_helper.from_array(array, key) for key, array in constants.items() if key in used],
        )
        paths[name] = folder / f"{name}.onnx"
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), paths[name])
    paths["bundle"] = tiny_bundle(folder / "tiny.edgeseq", window=256, stride=256, buckets=(256,))
    return paths


@on_arm
def test_counts_show_what_a_processor_has(arm: Environment, products: dict[str, Path]) -> None:
    floats = {each.core: each for each in count(products["bundle"], graph=products["float"], batch=1, built=arm)}
    whole = {each.core: each for each in count(products["bundle"], graph=products["bytes"], batch=1, built=arm)}
    multiplies = 256 * 256 * 256
    for core in ("cortex-a72", "cortex-a76"):
        assert (floats[core].bases, floats[core].tokens) == (256, 256)
        assert floats[core].instructions["fmla"] == pytest.approx(multiplies / 4, rel=0.02)
        assert floats[core].instructions["dot"] == floats[core].instructions["mlal"] == 0
        assert floats[core].spread < 0.02
        assert whole[core].instructions["fmla"] < multiplies / 40
    assert whole["cortex-a76"].instructions["dot"] == pytest.approx(multiplies / 16, rel=0.02)
    assert whole["cortex-a72"].instructions["dot"] == 0
    assert multiplies / 16 < whole["cortex-a72"].instructions["mlal"] < multiplies / 4
    assert whole["cortex-a76"].total < 0.6 * floats["cortex-a76"].total


@on_arm
def test_counts_are_the_same_again(arm: Environment, products: dict[str, Path]) -> None:
    once, again = (count(products["bundle"], graph=products["float"], cores=["cortex-a72"], built=arm) for _ in "12")
    assert once[0].total == pytest.approx(again[0].total, rel=0.005)
    assert once[0].bases == 8 * 256


@on_arm
def test_a_graph_that_does_not_load_is_an_error(arm: Environment, bundle_path: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(read_bundle(bundle_path).graph[:100])
    with pytest.raises(CountError, match=r"the guest on cortex-a72 failed: the engine refuses the graph"):
        count(bundle_path, graph=broken, cores=["cortex-a72"], built=arm)
