"""What every part of a spec has in common: strictness, and the form of names."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,39}$")]
ColumnName = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_]{0,59}$")]
Share = Annotated[float, Field(ge=0.0, le=1.0)]


class SpecPart(BaseModel):
    """Base of every part of a spec: frozen, and an unknown field is a fault."""

    model_config = ConfigDict(frozen=True, extra="forbid")
