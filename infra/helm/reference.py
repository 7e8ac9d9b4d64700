"""Writes what the code knows into the chart's schema, and the chart's values into its page.

`python -m infra.helm.reference` writes both; a test says when it has to be run again.
"""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from shared.settings import Settings

CHART = Path(__file__).parent / "headrace"
PAGE = Path(__file__).parents[2] / "docs" / "kubernetes.md"
SCHEMA = CHART / "values.schema.json"
BEGIN, END = "<!-- values: begin -->", "<!-- values: end -->"

OWNED: Mapping[str, str] = {
    "DATABASE_URL": "postgres.existingSecret",
    "KAFKA_BOOTSTRAP_SERVERS": "kafka.bootstrapServers",
    "KAFKA_SECURITY_PROTOCOL": "kafka.securityProtocol",
    "KAFKA_SASL_MECHANISM": "kafka.saslMechanism",
    "KAFKA_USERNAME": "kafka.existingSecret",
    "KAFKA_PASSWORD": "kafka.existingSecret",
    "KAFKA_CA_FILE": "kafka.tls.caKey",
    "KAFKA_CERT_FILE": "kafka.tls.certKey",
    "KAFKA_KEY_FILE": "kafka.tls.privateKeyKey",
    "S3_ENDPOINT_URL": "s3.endpointUrl",
    "S3_CA_FILE": "s3.tls.existingSecret",
    "AWS_ACCESS_KEY_ID": "s3.existingSecret",
    "AWS_SECRET_ACCESS_KEY": "s3.existingSecret",
    "AWS_REGION": "s3.region",
    "MLFLOW_TRACKING_URI": "mlflow.trackingUri",
    "DASK_SCHEDULER_ADDRESS": "dask.schedulerAddress",
    "ADMIN_DATABASE_URL": "migrations.adminExistingSecret",
    "MLFLOW_DATABASE_URL": "migrations.mlflowUrlKey",
    "DATASETS_DIR": "datasets",
    "HTTP_HOST": "httpHost",
    "HTTP_PORT": "httpPort",
    "API_TOKEN": "api.existingSecret",
    "NOTIFY_URLS": "notifications.existingSecret",
    "CONSOLE_DATABASE_URL": "console.existingSecret",
    "CONSOLE_PASSWORD": "console.passwordExistingSecret",
}
"""Settings that the chart has a value of its own for, most of them to keep a secret out of the
values or to mount a file; all others go into `env`."""

FOR_TESTS = frozenset({"FAIL_POINT"})
"""Settings that nobody may set in a cluster."""

_KEPT = {"type", "enum", "const", "pattern", "minimum", "maximum", "exclusiveMinimum"}


def settings_schema() -> dict[str, Any]:
    """The JSON Schema of `env`: each setting that isn't `OWNED`, with its limits."""
    fields = Settings.model_json_schema()["properties"]
    return {
        "type": "object",
        "additionalProperties": False,
        "description": "A setting of docs/operations.md that has no value of its own.",
        "properties": {
            name.upper(): _limits(field)
            for name, field in sorted(fields.items())
            if name.upper() not in OWNED.keys() | FOR_TESTS
        },
    }


def _limits(field: Mapping[str, Any]) -> dict[str, Any]:
    kinds = [kind for kind in field.get("anyOf", [field]) if kind.get("type") != "null"]
    return {key: value for key, value in kinds[0].items() if key in _KEPT}


def schema_text() -> str:
    """The schema's file with its part about settings as the code has them."""
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    schema["$defs"]["settings"] = settings_schema()
    return json.dumps(schema, indent=2) + "\n"


def values_table() -> str:
    """The values as a Markdown table: path, default, and the comment above it."""
    lines = ["| value | default | meaning |", "|---|---|---|"]
    for path, default, comment in _values((CHART / "values.yaml").read_text(encoding="utf-8")):
        meaning = comment.replace("|", "\\|")
        lines.append(f"| `{path}` | {f'`{default}`' if default else ''} | {meaning} |")
    return "\n".join(lines)


def page_text() -> str:
    """The page with the table anew."""
    text = PAGE.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{values_table()}\n\n{END}{after}"


def _values(text: str) -> Iterator[tuple[str, str, str]]:
    """Each key with a comment right above it, as (path, default on its line, comment)."""
    path: list[tuple[int, str]] = []
    comment: list[str] = []
    for line in text.splitlines():
        bare = line.strip()
        if bare.startswith("#"):
            comment.append(bare.lstrip("# "))
            continue
        found = re.fullmatch(r"( *)([A-Za-z0-9_]+):(?: (.*))?", line)
        if found:
            indent, key, default = len(found[1]), found[2], found[3] or ""
            path = [*((depth, name) for depth, name in path if depth < indent), (indent, key)]
            if comment:
                yield ".".join(name for _, name in path), default, " ".join(comment)
        comment = []


def main() -> None:
    """Write both files."""
    SCHEMA.write_text(schema_text(), encoding="utf-8")
    PAGE.write_text(page_text(), encoding="utf-8")


if __name__ == "__main__":
    main()
