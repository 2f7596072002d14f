"""What is typed wrongly is refused in words, before anything is read, learnt or queued."""

from __future__ import annotations

from pathlib import Path

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError

from personalization.models import Job
from worker.rankers.lesson import Lesson

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize("command", [("train",), ("tune", "logistic"), ("teach", "x"), ("demo", "--no-serve")])
@pytest.mark.parametrize("seed", ["-5", str(2**63), "many"])
def test_a_seed_is_a_whole_number_from_nought(command: tuple[str, ...], seed: str) -> None:
    with pytest.raises(CommandError, match="a seed is a whole number from 0 to "):
        call_command(*command, "--seed", seed)
    assert not Job.objects.exists()


@pytest.fixture
def unlearnt(monkeypatch: pytest.MonkeyPatch) -> None:
    def learn(*args: object, **options: object) -> Lesson:
        pytest.fail("It learnt before it looked where to write.")

    monkeypatch.setattr(Lesson, "learn", learn)


@pytest.mark.usefixtures("shop", "unlearnt")
@pytest.mark.parametrize("name", ["folder", "folder/", "new/", "taken"])
def test_a_lesson_is_no_folder(name: str, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "taken.lesson.safetensors").mkdir()
    before = set(tmp_path.iterdir())
    with pytest.raises(CommandError, match="is a folder: name a file"):
        call_command("teach", f"{tmp_path}/{name}")
    assert set(tmp_path.iterdir()) == before


@pytest.mark.usefixtures("shop", "unlearnt")
def test_a_lesson_without_a_name_is_refused() -> None:
    with pytest.raises(CommandError, match=r"is a folder: name a file, such as shop\.lesson\.safetensors"):
        call_command("teach", "")


@pytest.mark.usefixtures("shop", "unlearnt")
def test_where_nothing_can_be_written_nothing_is_learnt(tmp_path: Path) -> None:
    """A name that no disc takes, and not a folder without rights: tests may run as root, whom those do not stop."""
    with pytest.raises(CommandError, match=r"x\.lesson\.safetensors cannot be written: "):
        call_command("teach", str(tmp_path / ("x" * 300)))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["", "figures.csv", "figures", ".parquet"])
def test_predictions_are_parquet_by_their_name_too(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CommandError, match=r"writes parquet: name a file that ends in \.parquet"):
        call_command("evaluate", "--predictions", name, "--report", "kept")
    assert not list(tmp_path.iterdir())


def test_a_report_has_a_folder() -> None:
    with pytest.raises(CommandError, match="--report takes the name of a folder"):
        call_command("evaluate", "--report", "")


def test_where_there_is_no_campaign_yet_it_says_so() -> None:
    with pytest.raises(CommandError, match=r"There is no campaign 1\. There are none yet\."):
        call_command("forecast", "1")
