"""What the command says and how it exits where no server is needed."""

import json
from datetime import date
from pathlib import Path

import pytest
from pydantic import SecretStr
from typer.testing import CliRunner

from cli.demo.plan import make_plan
from cli.main import app
from cli.output import print_table, text
from cli.progress import reason_line
from cli.psql import connection_variables
from cli.sample import write_streamflow
from shared.contracts.spec_file import read_spec
from shared.settings import Settings
from tests.conftest import REPOSITORY

run = CliRunner().invoke


def test_check_names_every_fault_with_its_line_and_exits_1(tmp_path: Path) -> None:
    good = (REPOSITORY / "datasets" / "streamflow.yaml").read_text()
    path = tmp_path / "streamflow.yaml"
    path.write_text(
        good.replace("expect_column_values_to_not_be_null", "expect_to_shine", 1)
        .replace("min_value: 0, max_value: 720", "smallest: 0", 1)
        .replace("max_iter: 2000", "patience: 2000", 1)
    )
    done = run(app, ["check", str(path)])
    assert done.exit_code == 1
    lines = done.stderr.splitlines()
    assert len(lines) == 3
    for line, fault in zip(lines, ("expect_to_shine", "smallest", "patience"), strict=True):
        number = int(line.split("line ")[1].split(":")[0])
        at_fault = "\n".join(path.read_text().splitlines()[number - 1 : number + 2])
        assert fault in at_fault, line


def test_check_of_a_good_spec_says_what_it_has_and_exits_0() -> None:
    done = run(app, ["check", str(REPOSITORY / "datasets" / "streamflow.yaml")])
    assert (done.exit_code, done.stderr) == (0, "")
    assert "6 tables, 10 expectations, model streamflow_churn" in done.stdout


@pytest.mark.parametrize(
    "arguments",
    [
        ["slices"],
        ["load", "streamflow"],
        ["rejects"],
        ["dead", "list"],
        ["migrate"],
        ["status"],
        ["history", "streamflow"],
        ["health"],
        ["psql"],
    ],
)
def test_without_a_stack_a_command_says_how_to_start_one_and_exits_2(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DATABASE_URL", raising=False)
    done = run(app, [*arguments, "--root", str(tmp_path)])
    assert done.exit_code == 2
    assert "headrace up" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["demo", "--data", "/nowhere/at/all"], "no folder"),
        (["demo", "--dataset", "nothing"], "no dataset 'nothing'"),
        (["demo", "--dataset", "rakuten", "--faults"], "no sample of 'rakuten' with faults"),
        (["demo", "--data", ".", "--faults"], "--faults is of a sample"),
        (["load"], "Missing argument"),
        (["load", "streamflow", "--as-of", "yesterday"], "yesterday"),
        (["nonsense"], "nonsense"),
    ],
)
def test_wrong_usage_is_named_and_is_no_success(
    arguments: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATASETS_DIR", str(REPOSITORY / "datasets"))
    monkeypatch.chdir(tmp_path)
    done = run(app, arguments)
    assert done.exit_code != 0
    assert said in done.stderr


def test_faults_are_in_the_last_month_s_usage_alone(tmp_path: Path) -> None:
    write_streamflow(tmp_path / "whole", months=2, users=60, seed=1)
    write_streamflow(tmp_path / "faulty", months=2, users=60, seed=1, faults=True)
    files = [path.relative_to(tmp_path / "whole") for path in (tmp_path / "whole").rglob("*.csv")]
    other = [
        f
        for f in files
        if (tmp_path / "whole" / f).read_bytes() != (tmp_path / "faulty" / f).read_bytes()
    ]
    assert other == [Path("month_001/usage_agg_30d.csv")]
    assert (tmp_path / "faulty" / other[0]).read_text().count(",n/a,") == 3


def test_the_same_seed_gives_the_same_drops_and_another_one_others(tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        write_streamflow(tmp_path / name, months=2, users=60, seed=seed)
    files = sorted(path.relative_to(tmp_path / "a") for path in (tmp_path / "a").rglob("*.csv"))
    assert len(files) == 12
    for file in files:
        a, b, c = ((tmp_path / name / file).read_bytes() for name in "abc")
        assert a == b != c


def test_users_stay_and_newcomers_come_each_month(tmp_path: Path) -> None:
    first, second = write_streamflow(tmp_path, months=2, users=100, seed=1)
    january, february = ((m / "users.csv").read_text().splitlines() for m in (first, second))
    assert february[: len(january)] == january
    assert len(february) == len(january) + 4


def test_a_table_is_aligned_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    print_table([["a", "1"], ["bbb", "22.5"]], ["name", "how_many"])
    assert capsys.readouterr().out.splitlines() == [
        "name  how many",
        "a            1",
        "bbb       22.5",
    ]


def test_a_value_in_a_table_is_short() -> None:
    assert [text(None), text(0.5), text(True), text("x")] == ["", "0.5000", "yes", "x"]


def test_a_reason_brings_its_first_offenders_once() -> None:
    assert reason_line({"message": "bad: N1", "sample": ["N1"]}) == "bad: N1"
    assert reason_line({"message": "bad", "sample": list("wxyz")}) == "bad: w | x | y"
    assert reason_line({"message": "bad"}) == "bad"


def test_psql_finds_the_database_by_variables_for_arguments_are_for_all_to_read() -> None:
    url = "postgresql://me:p%40ss@db.example.org:5433/things?sslmode=require"
    assert connection_variables(Settings(database_url=SecretStr(url))) == {
        "PGHOST": "db.example.org",
        "PGPORT": "5433",
        "PGUSER": "me",
        "PGPASSWORD": "p@ss",
        "PGDATABASE": "things",
        "PGSSLMODE": "require",
        "PGAPPNAME": "headrace-psql",
    }


def test_health_of_a_service_that_does_not_answer_is_a_fault_and_exits_1() -> None:
    done = run(app, ["health", "--at", "http://127.0.0.1:9", "--json"])
    assert done.exit_code == 1
    (found,) = json.loads(done.stdout)
    assert "doesn't answer" in found["faults"]["service"]


def test_the_demo_of_a_growing_catalogue_takes_its_first_three_shares(tmp_path: Path) -> None:
    spec = read_spec(REPOSITORY / "datasets" / "rakuten.yaml")
    plan = make_plan(spec, tmp_path, date(2026, 11, 22))
    assert plan.one_by_one
    assert [(each.slice_key, str(each.as_of)) for each in plan.requests] == [
        ("40%", "2026-11-02"),
        ("43%", "2026-11-09"),
        ("46%", "2026-11-16"),
    ]
    assert {each.source_uri for each in plan.requests} == {str(tmp_path)}
    monday = make_plan(spec, tmp_path, date(2026, 11, 23))
    assert monday.requests[-1].as_of == date(2026, 11, 23)


def test_the_demo_of_slices_in_folders_takes_all_of_them_dated_by_their_names(
    tmp_path: Path,
) -> None:
    spec = read_spec(REPOSITORY / "datasets" / "streamflow.yaml")
    for name in ("month_001", "month_000"):
        (tmp_path / name).mkdir()
    plan = make_plan(spec, tmp_path, date(2026, 11, 22))
    assert not plan.one_by_one
    assert [(each.slice_key, each.as_of) for each in plan.requests] == [
        ("month_000", None),
        ("month_001", None),
    ]
