"""`headrace backfill`: past slices in order, and one training at the end."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Annotated, Any

import typer

from cli.backfill.planning import IN_ALREADY, NO_SOURCE, UNDER_WAY, Planned, plan
from cli.backfill.training import ask_for_training, newest_untrained
from cli.load import SOURCE, follow, publish
from cli.output import print_table
from cli.progress import Progress
from cli.session import EXIT_FAILED, ROOT, AsJson, Root, Session, fail, session
from shared.clock import utc_now
from shared.contracts.dataset_spec import DatasetSpec
from shared.contracts.envelope import Event
from shared.contracts.events import Payload
from shared.contracts.slice_range import slices_between
from shared.contracts.spec_file import find_spec
from shared.load_requests import BadRequest, load_request

app = typer.Typer()


@app.command()
def backfill(
    dataset: Annotated[str, typer.Argument(help="The dataset's name.")],
    first: Annotated[str, typer.Option("--from", help="The first slice, or a date.")],
    last: Annotated[str, typer.Option("--to", help="The last slice, or a date.")],
    source: Annotated[
        str | None, typer.Option("--source", help="The folder of the slices; the spec's if absent.")
    ] = None,
    again: Annotated[
        bool, typer.Option("--again", help="Slices that are in too; unchanged ones are left.")
    ] = False,
    keep_going: Annotated[
        bool, typer.Option("--keep-going", help="Go on after a slice that is refused.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would be done.")
    ] = False,
    timeout: Annotated[
        float, typer.Option("--timeout", help="Seconds for each slice; exit code 4 after.")
    ] = 3600.0,
    as_json: AsJson = False,
    root: Root = ROOT,
) -> None:
    """Load past slices in their order; nothing is trained between them, and once at the end.

    Stops at the first slice that is refused, with exit code 1. Doing it again goes on where it
    stopped: what is in is passed over, what is under way is waited for, and what was trained on
    is not once more.
    """
    with session(root) as current:
        spec = find_spec(current.settings.datasets_dir, dataset)
        try:
            keys = slices_between(spec.slices, first, last)
        except (ValueError, OverflowError) as error:
            raise BadRequest(str(error)) from error
        if dry_run:
            _say_plan([plan(current, spec, key, source, again=again) for key in keys], as_json)
            return
        run = _Backfill(current, spec, source, again, timeout, as_json)
        done, refused = run.load(keys, keep_going=keep_going)
        trained = None
        if not refused or keep_going:
            trained = run.train(keys)
        if as_json:
            typer.echo(json.dumps({"slices": done, "refused": refused, "trained": trained}))
        if refused:
            left = "" if keep_going else f"; {len(keys) - len(done)} slices are left"
            fail(
                f"{len(refused)} of {len(keys)} slices were refused: {', '.join(refused)}{left}. "
                "Mend them (`headrace rejects`) and run this again"
            )


@dataclass(frozen=True)
class _Backfill:
    current: Session
    spec: DatasetSpec
    source: str | None
    again: bool
    timeout: float
    is_quiet: bool

    def load(
        self, keys: Sequence[str], *, keep_going: bool
    ) -> tuple[list[dict[str, Any]], list[str]]:
        """Load the slices one after the other; what became of each, and those that were refused."""
        done: list[dict[str, Any]] = []
        refused: list[str] = []
        for number, key in enumerate(keys, 1):
            outcome = self._load_one(key)
            done.append(outcome)
            self._say(f"{number}/{len(keys)}  {key}  {outcome['said']}")
            if not outcome["is_good"]:
                refused.append(key)
                if not keep_going:
                    break
        return done, refused

    def _load_one(self, key: str) -> dict[str, Any]:
        planned = plan(self.current, self.spec, key, self.source, again=self.again)
        facts = {"slice_key": key, "load_id": planned.load_id}
        if planned.what == IN_ALREADY:
            return {**facts, "status": IN_ALREADY, "said": IN_ALREADY, "is_good": True}
        if planned.what == NO_SOURCE:
            said = f"refused: {planned.detail}"
            return {**facts, "status": NO_SOURCE, "said": said, "is_good": False}
        event = self._request(planned)
        found = follow(self.current, event, with_model=False, timeout=self.timeout, quiet=True)
        return {
            "slice_key": key,
            "load_id": found.load_id,
            "status": found.status,
            "said": _outcome(found),
            "is_good": found.is_good,
        }

    def _request(self, planned: Planned) -> Event[Payload]:
        """Ask for the slice; where a load of it is under way, that one's request."""
        with self.current.engine.connect() as connection:
            payload = load_request(
                connection,
                self.current.settings,
                dataset=self.spec.dataset,
                slice_key=planned.slice_key,
                source=self.source,
                requested_by="backfill",
            ).model_copy(update={"trains": False})
        if planned.load_id is not None and planned.what == UNDER_WAY:
            return Event(payload, source=SOURCE, time=utc_now(), id=planned.load_id)
        return publish(self.current, payload)

    def train(self, keys: Sequence[str]) -> dict[str, Any] | None:
        """Have what the range brought trained on, once; None, and said, where there is nothing to.

        That is, where the dataset has no training, or a snapshot that knew all of it was trained
        on already.
        """
        if self.spec.training is None:
            self._say("nothing to train: the spec has no training")
            return None
        with self.current.engine.connect() as connection:
            snapshot = newest_untrained(connection, self.spec.dataset, keys)
        if snapshot is None:
            self._say("nothing to train: these slices brought nothing that wasn't trained on")
            return None
        asked = ask_for_training(self.current, snapshot)
        self._say(f"training on {snapshot.slice_key}, snapshot {snapshot.snapshot_id}")
        load = Event(asked.payload, source=SOURCE, time=utc_now(), id=snapshot.load_id)
        found = follow(self.current, load, with_model=True, timeout=self.timeout, quiet=True)
        if not found.is_good:
            fail("; ".join(found.reasons()))
        made = found.promotion or {}
        self._say(f"{made['model_name']} version {made['model_version']}: {made['reason']}")
        return {
            "slice_key": snapshot.slice_key,
            "snapshot_id": snapshot.snapshot_id,
            "model_version": made["model_version"],
        }

    def _say(self, line: str) -> None:
        typer.echo(line, err=self.is_quiet)


def _outcome(found: Progress) -> str:
    if not found.is_good:
        return f"{found.status}: {'; '.join(found.reasons()[:2])}"
    changes = _totals(found)
    return f"{found.status}  {changes}" if changes else found.status


def _totals(found: Progress) -> str:
    by_table = ((found.load or {}).get("changes") or {}).values()
    signs = {"inserted": "+", "updated": "~", "unchanged": "=", "deleted": "-"}
    totals = {name: sum(table[name] for table in by_table) for name in signs}
    return " ".join(f"{signs[name]}{count}" for name, count in totals.items()) if by_table else ""


def _say_plan(planned: Sequence[Planned], as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps([asdict(each) for each in planned], indent=2))
    else:
        columns = ["slice_key", "as_of", "what", "source_uri", "detail"]
        print_table(list(_cells(planned, columns)), columns)
    if any(each.what == NO_SOURCE for each in planned):
        raise typer.Exit(EXIT_FAILED)


def _cells(planned: Sequence[Planned], columns: Sequence[str]) -> Iterator[list[str]]:
    for each in planned:
        yield [str(getattr(each, column) or "") for column in columns]
