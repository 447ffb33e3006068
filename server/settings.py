"""Where this process listens and keeps its files; everything else is in the config folder."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """Process settings, from the environment (DESIGN §1) or from the command line."""

    model_config = SettingsConfigDict(env_prefix="INTERLOCK_", frozen=True, extra="ignore")

    configs: Path = Path("configs")
    """The folder with gateway.yaml, servers.yaml, access.yaml and graphs/."""
    storage: str = ""
    """A storage URL that wins over the gateway file's."""
    data: Path = Path("data")
    """Where the database, the generated keys and the demo's files live."""
    forwarded_jwt_secret: SecretStr = SecretStr("")
    """The secret with which Open WebUI signs for whom it asks; with one, its unsigned headers are not believed."""
    log: Literal["text", "json"] = "text"
    """How the log is written: for the eye, or a JSON object a line."""
    heartbeat: float = Field(default=5.0, gt=0)
    """Seconds of silence after which a stream gets a comment line, so that proxies keep it open."""
    grace: float = Field(default=30.0, ge=0)
    """Seconds that running turns get to finish after SIGTERM."""
    max_body: int = Field(default=32 * 1024 * 1024, gt=0)
    """The largest request body, in bytes."""
