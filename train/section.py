"""The base of every section of the configuration."""

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """Settings under one key: unknown ones are refused, and none changes while a step runs."""

    model_config = ConfigDict(extra="forbid", frozen=True)
