"""Counting instructions: their classes, from the bits of the Arm manual, and the arithmetic around them."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from pathlib import Path

import pytest

from devices.count import CLASSES, SOURCE, Count, CountError, compile_plugin, described, table

WORDS = (
    ("fmla", 0x4E22CC20, "fmla v0.4s, v1.4s, v2.4s"),
    ("fmla", 0x4EA2CC20, "fmls v0.4s, v1.4s, v2.4s"),
    ("fmla", 0x4E420C20, "fmla v0.8h, v1.8h, v2.8h"),
    ("fmla", 0x4F821020, "fmla v0.4s, v1.4s, v2.s[0]"),
    ("fmla", 0x5F821020, "fmla s0, s1, v2.s[0]"),
    ("fmla", 0x0E22EC20, "fmlal v0.2s, v1.2h, v2.2h"),
    ("fmla", 0x6E42FC20, "bfdot v0.4s, v1.8h, v2.8h"),
    ("fmla", 0x6E42EC20, "bfmmla v0.4s, v1.8h, v2.8h"),
    ("fmla", 0x6E42C420, "fcmla v0.8h, v1.8h, v2.8h, #0"),
    ("dot", 0x4E829420, "sdot v0.4s, v1.16b, v2.16b"),
    ("dot", 0x6E829420, "udot v0.4s, v1.16b, v2.16b"),
    ("dot", 0x4F82E020, "sdot v0.4s, v1.16b, v2.4b[0]"),
    ("dot", 0x4E829C20, "usdot v0.4s, v1.16b, v2.16b"),
    ("dot", 0x4F82F020, "usdot v0.4s, v1.16b, v2.4b[0]"),
    ("dot", 0x4F02F020, "sudot v0.4s, v1.16b, v2.4b[0]"),
    ("dot", 0x4E82A420, "smmla v0.4s, v1.16b, v2.16b"),
    ("dot", 0x6E82A420, "ummla v0.4s, v1.16b, v2.16b"),
    ("dot", 0x4E82AC20, "usmmla v0.4s, v1.16b, v2.16b"),
    ("mlal", 0x0E628020, "smlal v0.4s, v1.4h, v2.4h"),
    ("mlal", 0x2E228020, "umlal v0.8h, v1.8b, v2.8b"),
    ("mlal", 0x4E22C020, "smull2 v0.8h, v1.16b, v2.16b"),
    ("mlal", 0x0E62A020, "smlsl v0.4s, v1.4h, v2.4h"),
    ("mlal", 0x0F62A020, "smull v0.4s, v1.4h, v2.h[2]"),
    ("mlal", 0x4EA29420, "mla v0.4s, v1.4s, v2.4s"),
    ("mlal", 0x6EA29420, "mls v0.4s, v1.4s, v2.4s"),
    ("mlal", 0x4EA29C20, "mul v0.4s, v1.4s, v2.4s"),
    ("mlal", 0x4F828020, "mul v0.4s, v1.4s, v2.s[0]"),
    ("mlal", 0x4E62B420, "sqdmulh v0.8h, v1.8h, v2.8h"),
    ("mlal", 0x6F62D020, "sqrdmlah v0.8h, v1.8h, v2.h[2]"),
    ("float", 0x4E22D420, "fadd v0.4s, v1.4s, v2.4s"),
    ("float", 0x1E220820, "fmul s0, s1, s2"),
    ("float", 0x1F020C20, "fmadd s0, s1, s2, s3"),
    ("float", 0x4E21D820, "scvtf v0.4s, v1.4s"),
    ("float", 0x1E270000, "fmov s0, w0"),
    ("float", 0x4EA1B820, "fcvtzs v0.4s, v1.4s"),
    ("float", 0x7E30D820, "faddp s0, v1.2s"),
    ("float", 0x6E30F820, "fmaxv s0, v1.4s"),
    ("float", 0x0E216820, "fcvtn v0.4h, v1.4s"),
    ("float", 0x4F30E420, "scvtf v0.4s, v1.4s, #0x10"),
    ("float", 0x6E22FC20, "fdiv v0.4s, v1.4s, v2.4s"),
    ("vector", 0x4E224420, "sshl v0.16b, v1.16b, v2.16b"),
    ("vector", 0x4EA28420, "add v0.4s, v1.4s, v2.4s"),
    ("vector", 0x6F00E400, "movi v0.2d, #0"),
    ("vector", 0x4F03F600, "fmov v0.4s, #1.00000000"),
    ("vector", 0x4E040C20, "dup v0.4s, w1"),
    ("vector", 0x4E606820, "sadalp v0.4s, v1.8h"),
    ("vector", 0x0F08A420, "sshll v0.8h, v1.8b, #0"),
    ("vector", 0x4E020020, "tbl v0.16b, {v1.16b}, v2.16b"),
    ("vector", 0x6E020820, "ext v0.16b, v1.16b, v2.16b, #1"),
    ("vector", 0x4E284820, "aese v0.16b, v1.16b"),
    ("vector", 0x2E229C20, "pmul v0.8b, v1.8b, v2.8b"),
    ("vector", 0x0E22E020, "pmull v0.8h, v1.8b, v2.8b"),
    ("vector", 0x4EA1C820, "urecpe v0.4s, v1.4s"),
    ("vector", 0xCE608020, "sha512h q0, q1, v0.2d"),
    ("memory", 0x3DC00020, "ldr q0, [x1]"),
    ("memory", 0xAD400400, "ldp q0, q1, [x0]"),
    ("memory", 0xF90003E0, "str x0, [sp]"),
    ("memory", 0xF9800000, "prfm pldl1keep, [x0]"),
    ("memory", 0x4C407800, "ld1 {v0.4s}, [x0]"),
    ("memory", 0x4DDFC820, "ld1r {v0.4s}, [x1], #4"),
    ("memory", 0xC8DFFC20, "ldar x0, [x1]"),
    ("memory", 0x58000040, "ldr x0, #8"),
    ("memory", 0xB8200041, "ldadd w0, w1, [x2]"),
    ("other", 0x8B020020, "add x0, x1, x2"),
    ("other", 0x14000000, "b #0"),
    ("other", 0xD65F03C0, "ret"),
    ("other", 0xD4000001, "svc #0"),
    ("other", 0xD503201F, "nop"),
    ("other", 0x9B027C20, "mul x0, x1, x2"),
    ("other", 0x9AC20820, "udiv x0, x1, x2"),
    ("other", 0xB4000040, "cbz x0, #8"),
    ("other", 0xD2800000, "mov x0, #0"),
    ("other", 0x9AC24C20, "crc32x w0, w1, x2"),
    ("other", 0xD53BE040, "mrs x0, cntvct_el0"),
)
"""Class, instruction word, and what it is in assembly."""

QEMU = """
void qemu_plugin_register_vcpu_tb_trans_cb(void) {}
void qemu_plugin_register_vcpu_syscall_cb(void) {}
void qemu_plugin_register_vcpu_tb_exec_inline(void) {}
unsigned long qemu_plugin_tb_n_insns(void) { return 0; }
void *qemu_plugin_tb_get_insn(void) { return 0; }
void *qemu_plugin_insn_data(void) { return 0; }
void qemu_plugin_outs(void) {}
"""
"""What the plugin calls of the emulator, doing nothing."""


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    """The plugin as a library of this machine, without an emulator."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler is installed")
    folder = tmp_path_factory.mktemp("plugin")
    (folder / "qemu.c").write_text(QEMU, encoding="utf-8")
    library = folder / "classifier.so"
    strict = ("-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Werror")
    subprocess.run([compiler, *strict, "-fPIC", "-c", "-o", folder / "plugin.o", SOURCE], check=True)
    subprocess.run(
        [compiler, "-shared", "-fPIC", "-w", "-o", library, folder / "plugin.o", folder / "qemu.c"], check=True
    )
    loaded = ctypes.CDLL(str(library))
    loaded.edgeseq_class.argtypes = [ctypes.c_uint32]
    loaded.edgeseq_class_name.restype = ctypes.c_char_p
    return loaded


@pytest.mark.parametrize(("name", "word", "assembly"), WORDS, ids=[assembly for _, _, assembly in WORDS])
def test_instructions_have_these_classes(classifier: ctypes.CDLL, name: str, word: int, assembly: str) -> None:
    found: bytes = classifier.edgeseq_class_name(classifier.edgeseq_class(word))
    assert found.decode() == name


def test_registers_and_width_change_no_class(classifier: ctypes.CDLL) -> None:
    for name, word, assembly in WORDS:
        if name in ("fmla", "dot", "mlal"):
            for other in (word ^ 0b11111, word ^ 0b11111 << 5, word ^ 0b01111 << 16):
                assert classifier.edgeseq_class(other) == classifier.edgeseq_class(word), f"{assembly}: {other:08x}"


def test_the_plugin_and_the_table_name_the_same_classes(classifier: ctypes.CDLL) -> None:
    names = [classifier.edgeseq_class_name(number) for number in range(len(CLASSES) + 1)]
    assert [name.decode() for name in names[:-1]] == list(CLASSES)
    assert names[-1] is None


def test_the_plugin_needs_the_emulator_alone(tmp_path: Path) -> None:
    if shutil.which("nm") is None or shutil.which("cc") is None:
        pytest.skip("no nm or no C compiler is installed")
    listed = subprocess.run(
        ["nm", "-D", "--undefined-only", compile_plugin(tmp_path)], capture_output=True, text=True, check=True
    ).stdout
    needed = {line.split()[-1] for line in listed.splitlines()}
    assert needed
    assert all(name.startswith("qemu_plugin_") for name in needed), needed


def test_a_compiler_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)
    with pytest.raises(CountError, match=r"no C compiler was found, which the counter needs; install gcc"):
        compile_plugin(tmp_path)


def test_a_compiler_that_fails_is_quoted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiler = tmp_path / "broken-cc"
    compiler.write_text("#!/bin/sh\necho no such luck >&2\nexit 1\n", encoding="utf-8")
    compiler.chmod(0o755)
    monkeypatch.setenv("CC", str(compiler))
    with pytest.raises(CountError, match=r"broken-cc cannot compile count_plugin\.c: no such luck"):
        compile_plugin(tmp_path)


def made(core: str, **instructions: float) -> Count:
    return Count(core, 2000, 2004, dict.fromkeys(CLASSES, 0.0) | instructions, 0.0005)


def test_instructions_are_those_of_a_kilobase() -> None:
    count = made("cortex-a76", fmla=6e6, memory=2e6)
    assert count.per_kilobase["fmla"] == 3e6
    assert count.total == 4e6


def test_the_table_has_a_column_for_each_processor() -> None:
    text = table([made("cortex-a72", mlal=3e6, other=1e6), made("cortex-a76", dot=1e6)])
    lines = text.splitlines()
    assert lines[0].split() == ["cortex-a72", "cortex-a76"]
    assert lines[4].split()[-4:] == ["1.500", "75.0%", "0.000", "0.0%"]
    assert lines[-1].split() == ["all", "2.000", "0.500"]


def test_counts_as_json(bundle_path: Path) -> None:
    found = described([made("cortex-a76", dot=1e6)], bundle_path)
    assert found["cpus"]["cortex-a76"]["dot"] == 0.5
    assert found["cpus"]["cortex-a76"]["total"] == 0.5
    assert found["cpus"]["cortex-a76"]["bases"] == 2000
    assert len(found["sha256"]) == 64
