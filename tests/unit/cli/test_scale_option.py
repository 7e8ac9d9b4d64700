import pytest
import typer
from typer.testing import CliRunner

from cli.scale import counts, remarks
from cli.stack import app


def test_each_service_has_the_number_that_was_asked_for() -> None:
    assert counts(["validator=3", "trainer = 2", "notifier=0"]) == {
        "validator": 3,
        "trainer": 2,
        "notifier": 0,
    }
    assert counts([]) == {}


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (["validator"], "'validator' is not like validator=3"),
        (["validator="], "'' is no number of validator processes"),
        (["validator=two"], "'two' is no number"),
        (["validator=-1"], "'-1' is no number"),
        (["validator=1.5"], "'1.5' is no number"),
        (["validator=²"], "'²' is no number"),
        (["postgres=2"], "there is no service 'postgres'; there are: ingestor, validator, "),
        (["validator-2=2"], "there is no service 'validator-2'"),
        (["validator=2", "validator=3"], "validator is named twice"),
    ],
)
def test_what_can_not_be_understood_is_refused_with_its_reason(asked: list[str], said: str) -> None:
    with pytest.raises(typer.BadParameter) as refused:
        counts(asked)
    assert said in str(refused.value)


def test_up_refuses_a_bad_number_before_it_starts_anything(tmp_path) -> None:
    for options in (["--scale", "validator=x"], ["--scale", "validator=2", "--servers-only"]):
        done = CliRunner().invoke(app, ["up", *options, "--root", str(tmp_path / "stack")])
        assert done.exit_code == 2, done.output
        assert "Invalid value for '--scale'" in done.output
        assert not (tmp_path / "stack").exists()


def test_only_odd_numbers_are_remarked_on() -> None:
    assert remarks({"validator": 6, "trainer": 1}, 6) == []
    idle, none = remarks({"validator": 8, "trainer": 0, "ingestor": 2}, 6)[::-1]
    assert "validator: 8 processes for the 6 partitions of a topic: only 6" in idle
    assert "trainer: none runs" in none
    assert "`headrace up --scale trainer=1`" in none
