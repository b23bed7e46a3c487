"""Training is seeded, learns, and goes on after a stop as if there had been none, bit for bit."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from made_genomes import EXACT, toy_sampler

torch = pytest.importorskip("torch", reason="training needs torch (extra `export`)")

from export.ahead import Plan, batch_of  # noqa: E402
from export.architectures import SeedNet  # noqa: E402
from export.dataset import Mixture  # noqa: E402
from export.seeds import Seed  # noqa: E402
from export.train import learning_rate, train  # noqa: E402

PLAN = Plan(steps=12, tokens=64 * 160, widths=(160, 192), width_shares=(0.5, 0.5), warm_up=4, checkpoint_every=5)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Sums in one order, whatever the machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def net() -> SeedNet:
    torch.manual_seed(3)
    return SeedNet((Seed("11011011011011", 9973),), 8, 16, 3, hidden=8)


def bits(net: SeedNet) -> dict[str, bytes]:
    return {name: tensor.numpy().tobytes() for name, tensor in net.state_dict().items()}


class StoppedError(Exception):
    """The machine was switched off."""


def trained(state: Path, plan: Plan = PLAN) -> SeedNet:
    fresh = net()
    train(fresh, toy_sampler(), plan, state)
    return fresh


@pytest.mark.parametrize(("stop", "kept"), [(3, False), (6, True), (9, True), (11, True)])
def test_a_stopped_run_ends_where_an_uninterrupted_one_does(stop: int, kept: bool, tmp_path: Path) -> None:
    """Checkpoints are made after steps 5, 10 and 12."""
    state = tmp_path / "stopped.pt"

    def switch_off(done: int, total: int, loss: float) -> None:
        if done == stop:
            raise StoppedError

    with pytest.raises(StoppedError):
        train(net(), toy_sampler(), PLAN, state, switch_off)
    assert state.exists() == kept
    steps: list[int] = []
    resumed = net()
    train(resumed, toy_sampler(), PLAN, state, lambda *progress: steps.append(int(progress[0])))
    assert steps == list(range(stop // 5 * 5 + 1, 13))
    assert bits(resumed) == bits(trained(tmp_path / "whole.pt"))


def test_a_finished_run_is_read_and_not_trained_again(tmp_path: Path) -> None:
    first = trained(tmp_path / "state.pt")
    state = (tmp_path / "state.pt").read_bytes()
    steps: list[int] = []
    again = net()
    train(again, toy_sampler(), PLAN, tmp_path / "state.pt", lambda *_: steps.append(1))
    assert steps == []
    assert bits(again) == bits(first)
    assert (tmp_path / "state.pt").read_bytes() == state


def test_a_checkpoint_that_fails_leaves_the_one_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state = tmp_path / "state.pt"

    def stop(step: int, steps: int, loss: float) -> None:
        if step == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(net(), toy_sampler(), PLAN, state, stop)
    before = state.read_bytes()

    def torn(content: object, path: Path) -> None:
        path.write_bytes(b"half a checkpoint")
        raise OSError("no space left on device")

    monkeypatch.setattr(torch, "save", torn)
    with pytest.raises(OSError, match="no space"):
        train(net(), toy_sampler(), PLAN, state)
    assert state.read_bytes() == before


def test_a_checkpoint_of_another_plan_is_refused(tmp_path: Path) -> None:
    state = tmp_path / "state.pt"
    train(net(), toy_sampler(), replace(PLAN, steps=5), state)
    with pytest.raises(ValueError, match="belongs to another plan"):
        train(net(), toy_sampler(), PLAN, state)


def test_training_learns_what_the_labels_mean(tmp_path: Path) -> None:
    sampler = replace(toy_sampler(profile=EXACT), mixture=Mixture(0.6, 0.4, 0, 0, 0, 0))
    plan = replace(PLAN, steps=80, table_rate=0.1, dense_rate=0.01)
    losses: list[float] = []
    learner = net()
    train(learner, sampler, plan, tmp_path / "state.pt", lambda *progress: losses.append(progress[2]))
    assert losses[-1] < 0.5 * losses[0]
    windows, labels = batch_of(sampler, plan, 1000)
    with torch.no_grad():
        called = learner(torch.from_numpy(windows)).argmax(1).numpy()
    assert np.mean(called == labels) > 0.9


def test_a_batch_depends_on_seed_and_step_alone() -> None:
    windows, labels = batch_of(toy_sampler(), PLAN, 7)
    again, _ = batch_of(toy_sampler(), PLAN, 7)
    np.testing.assert_array_equal(windows, again)
    assert windows.shape[1] in PLAN.widths
    assert len(windows) == len(labels) == max(64, PLAN.tokens // windows.shape[1])
    for other in (batch_of(toy_sampler(), PLAN, 8), batch_of(toy_sampler(), replace(PLAN, seed=2), 7)):
        assert not np.array_equal(windows, other[0])


def test_a_simulator_that_dies_ends_the_training(tmp_path: Path) -> None:
    """A window of 100 b is too short to simulate."""
    with pytest.raises(RuntimeError, match="simulator's process ended early"):
        train(net(), toy_sampler(), replace(PLAN, widths=(100, 100)), tmp_path / "state.pt")


def test_the_rate_rises_falls_and_never_ends() -> None:
    plan = Plan(steps=1000, warm_up=100)
    rates = [learning_rate(plan, step) for step in range(1000)]
    assert rates[0] == pytest.approx(0.01)
    assert np.argmax(rates) == 99
    assert rates[-1] == pytest.approx(0.01, abs=1e-4)
    assert np.all(np.diff(rates[100:]) < 0)
