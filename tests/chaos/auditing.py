"""The audit that a test ends with: nothing differs, and nothing was left unlooked at."""

from cli.verify.audit import examine
from shared.settings import Settings


def assert_well(settings: Settings, dataset: str | None = None, *, has_model: bool = False) -> None:
    """All that is stored, of one dataset or of all, is as it must be.

    What an audit couldn't look at, as while MLflow is away, fails the test but where there is no
    model. Where there is one, its versions must have been seen.
    """
    audit = examine(settings, dataset)
    findings = {found.check: found for found in audit.findings}
    assert audit.count == 0, "\n".join(map(str, audit.differences))
    assert any(found.looked_at for found in findings.values()), "it has looked at nothing"
    models = findings["models"] if has_model else findings.pop("models")
    unseen = [f"{found.check}: {said}" for found in findings.values() for said in found.unseen]
    assert not unseen, "\n".join(unseen)
    assert not has_model or models.looked_at.get("versions"), "no version was looked at"
