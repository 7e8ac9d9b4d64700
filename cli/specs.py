"""`headrace check`: what is wrong with a spec, line by line."""

from pathlib import Path
from typing import Annotated

import typer

from cli.session import EXIT_FAILED
from shared.contracts.dataset_spec import DatasetSpec
from shared.contracts.spec_file import FaultySpec, locate, read_spec

app = typer.Typer()


@app.command()
def check(
    paths: Annotated[list[Path], typer.Argument(help="Specs, as datasets/mine.yaml.")],
) -> None:
    """Check specs; exit 1 and explain each fault with its line if there is one."""
    is_good = True
    for path in paths:
        try:
            spec = read_spec(path)
            if faults := _faults_of_use(spec):
                raise FaultySpec(path, locate(path, faults))
        except FaultySpec as error:
            is_good = False
            typer.echo(str(error), err=True)
            continue
        typer.echo(f"{path}: good: {_described(spec)}")
    if not is_good:
        raise typer.Exit(EXIT_FAILED)


def _faults_of_use(spec: DatasetSpec) -> list[tuple[str, str]]:
    """What the services could do nothing with: places like `tables.users.key`, and messages."""
    faults = []
    if any(table.expectations for table in spec.tables.values()):
        from services.validator.spec_check import expectation_faults  # takes seconds to import

        faults += [(fault.path, fault.message) for fault in expectation_faults(spec)]
    if spec.schedule is not None:
        from shared.schedule.moments import schedule_faults

        faults += schedule_faults(spec)
    if spec.training is not None and (spec.training.model.parameters or spec.training.text):
        from services.trainer.modelling.models import text_obstacle, unknown_parameters

        kind = spec.training.model.kind
        if obstacle := text_obstacle(spec.training.model, spec.training.text):
            faults.append(("training.model.kind", obstacle))
        faults += [
            (f"training.model.parameters.{name}", f"is no parameter of {kind}")
            for name in unknown_parameters(spec.training.model)
        ]
    return faults


def _described(spec: DatasetSpec) -> str:
    expectations = sum(len(table.expectations) for table in spec.tables.values())
    model = f", model {spec.training.model.name}" if spec.training else ", no model"
    return f"{len(spec.tables)} tables, {expectations} expectations{model}"
