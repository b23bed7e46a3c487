"""Device profiles: what is known about each device, and how strictly their files are read."""

from __future__ import annotations

from pathlib import Path

import pytest

from devices.profiles import ProfileError, device_names, load_profile, profiles
from edgeseq.cpu import SIMD
from edgeseq.errors import UsageError
from edgeseq.session import PREFERENCE

BOARD = """\
name = "board"
title = "A board"
summary = "Of one's own"
sources = ["its data sheet"]

[cpu]
name = "Cortex-A55"
architecture = "aarch64"
cores = 4
gigahertz = 2.0
features = ["asimd", "asimddp"]
float_gflops = 64
int8_gops = 256

[memory]
gigabytes = 4
bandwidth = 8.5

[engine]
providers = ["cpu"]

[[prefer]]
weights = "int8"
activations = "uint8"
reduce_range = true
reason = "has dot products"
source = "its data sheet"
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "board.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_these_devices_are_known() -> None:
    assert device_names() == (
        "generic-arm64",
        "jetson-orin-nano",
        "raspberry-pi-4",
        "raspberry-pi-5",
        "x86-64-avx2",
        "x86-64-vnni",
    )


def test_a_pi_4_has_no_dot_product_and_a_pi_5_has() -> None:
    four, five = load_profile("raspberry-pi-4"), load_profile("raspberry-pi-5")
    assert (four.cpu.cores, four.cpu.gigahertz, four.cpu.features) == (4, 1.8, ("asimd",))
    assert (four.cpu.int8_gops, four.cpu.qemu) == (0, "cortex-a72")
    assert "asimddp" in five.cpu.features
    assert (five.cpu.int8_gops, five.cpu.qemu) == (614.4, "cortex-a76")
    assert five.cpu.int8_gops == 4 * five.cpu.float_gflops


def test_the_first_choice_on_every_arm_processor_is_right_on_every_other_machine_too() -> None:
    for profile in profiles().values():
        if profile.cpu.architecture == "aarch64":
            first = next(each for each in profile.prefer if each.provider == "cpu")
            assert (first.weights, first.activations, first.reduce_range) == ("int8", "uint8", True), profile.name


def test_float32_is_preferred_somewhere_and_refused_nowhere() -> None:
    for profile in profiles().values():
        assert profile.preferred("float32", "float32"), profile.name
        assert not profile.refused("float32", "float32"), profile.name


def test_formats_are_looked_up_with_their_reason() -> None:
    four = load_profile("raspberry-pi-4")
    refused = four.refused("uint8", "uint8")
    assert refused is not None
    assert refused.reason == "costs 28 % more instructions than float32 without a dot-product instruction"
    assert refused.name == "uint8 × uint8 on cpu"
    assert four.preferred("uint8", "uint8") is None
    assert load_profile("raspberry-pi-5").refused("uint8", "uint8") is None


def test_weights_that_clip_are_refused_where_they_clip() -> None:
    for profile in profiles().values():
        assert bool(profile.refused("int8", "uint8")) == profile.cpu.saturates, profile.name


def test_formats_are_asked_for_by_provider() -> None:
    orin = load_profile("jetson-orin-nano")
    assert orin.preferred("float16", "float16", provider="cuda")
    assert orin.refused("float16", "float16", provider="cpu")


def test_every_fact_has_a_source_and_features_are_those_that_the_runtime_reads() -> None:
    for profile in profiles().values():
        assert profile.sources
        for each in (*profile.prefer, *profile.refuse):
            assert each.reason, f"{profile.name}: {each.name}"
            assert each.source, f"{profile.name}: {each.name}"
        assert set(profile.cpu.features) <= set(SIMD[profile.cpu.architecture]), profile.name
        assert set(profile.engine.providers) <= set(PREFERENCE), profile.name


@pytest.mark.parametrize(
    ("asked", "hint"),
    [
        ("raspberry-pi-6", "did you mean raspberry-pi-"),
        ("Raspberry Pi 4", "did you mean raspberry-pi-4?"),
        ("orin-nano", "did you mean jetson-orin-nano?"),
        ("vic-20", "known are generic-arm64, jetson-orin-nano"),
    ],
)
def test_an_unknown_device_names_the_nearest(asked: str, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        load_profile(asked)
    assert str(caught.value).startswith(f"no device is called {asked!r}; {hint}")


def test_a_board_of_ones_own_is_a_file(tmp_path: Path) -> None:
    board = load_profile(written(tmp_path, BOARD))
    assert (board.name, board.memory.bandwidth, board.cpu.qemu) == ("board", 8.5, "")
    assert board.refuse == ()


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("gigahertz = 2.0", "gigaherz = 2.0", "10: cpu.gigaherz: unknown key; did you mean gigahertz?"),
        ("cores = 4\n", "", "cpu.cores: is missing; it has no default"),
        ("cores = 4", "cores = 0", "9: cpu.cores: is 0; it has to be at least 1"),
        ("bandwidth = 8.5", 'bandwidth = "fast"', "17: memory.bandwidth: is 'fast'; it has to be a number"),
        ('weights = "int8"', 'weights = "int3"', "23: prefer[0].weights: is 'int3'; it can be 'float32' or 'float16'"),
        ('providers = ["cpu"]', 'providers = ["cuda"]', "a format is for provider cpu, which engine.providers does"),
        ('name = "board"', 'name = "plank"', "1: name: is 'plank'; it has to be that of the file, 'board'"),
        ("[cpu]", "[cpu", "not TOML"),
        ("[[prefer]]", "[[refuse]]", "prefer: is missing"),
    ],
)
def test_bad_profiles(tmp_path: Path, old: str, new: str, problem: str) -> None:
    assert old in BOARD
    path = written(tmp_path, BOARD.replace(old, new))
    with pytest.raises(ProfileError) as caught:
        load_profile(path)
    assert str(caught.value).startswith(f"{path}:")
    assert problem in str(caught.value)


def test_a_format_is_not_both_preferred_and_refused(tmp_path: Path) -> None:
    table = BOARD[BOARD.index("[[prefer]]") :].replace("prefer", "refuse")
    with pytest.raises(ProfileError, match=r"uint8 × int8 in 7 bits on cpu is both preferred and refused"):
        load_profile(written(tmp_path, BOARD + "\n" + table))


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ProfileError, match=r"board\.toml: cannot be read: No such file or directory"):
        load_profile(tmp_path / "board.toml")
