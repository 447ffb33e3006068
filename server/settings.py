"""Process settings: where this process listens and keeps its files. Everything else is in the config folder."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, SecretStr
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from graphs.config.environment import Environment

PREFIX = "INTERLOCK_"


class Settings(BaseSettings):
    """Process settings: from the environment, from files that it names, or from the command line."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_ignore_empty=True, frozen=True, extra="ignore")

    configs: Path = Path("configs")
    """The folder with gateway.yaml, servers.yaml, access.yaml and graphs/."""
    storage: str = ""
    """A storage URL that wins over the gateway file's."""
    data: Path = Path("data")
    """Where the database, the generated keys, the address of the running `serve` and the demo's files live."""
    forwarded_jwt_secret: SecretStr = SecretStr("")
    """The secret with which Open WebUI signs for whom it asks; with one, its unsigned headers are not believed."""
    log: Literal["text", "json"] = "text"
    """How the log is written: for the eye, or a JSON object a line."""
    heartbeat: float = Field(default=5.0, gt=0)
    """Seconds of silence after which a stream gets a comment line, so that proxies keep it open."""
    send_timeout: float = Field(default=60.0, gt=0)
    """Seconds after which a client that takes nothing of its answer is cut, and its turn stopped."""
    grace: float = Field(default=30.0, ge=0)
    """Seconds that running turns get to finish after SIGTERM."""
    max_body: int | None = Field(default=None, gt=0)
    """The largest request body, in bytes; wins over `http.body_size` of the gateway file."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Order the sources: what the program sets, then variables, then the files that variables name."""
        return init_settings, env_settings, SecretFiles(settings_cls)


class SecretFiles(PydanticBaseSettingsSource):
    """Reads `INTERLOCK_NAME_FILE` for every setting, as config files have it. Raises SecretUnreadable."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        return Environment(os.environ).get(f"{PREFIX}{field_name.upper()}"), field_name, False

    def __call__(self) -> dict[str, Any]:
        values = {name: self.get_field_value(field, name)[0] for name, field in self.settings_cls.model_fields.items()}
        return {name: value for name, value in values.items() if value}
