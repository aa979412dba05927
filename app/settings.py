"""What the operator may set, from the environment or a `.env` file.

Importing this does no I/O.
"""

from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """Settings of one process: each field is an environment variable of its name in upper case."""

    model_config = SettingsConfigDict(env_file=".env", extra="ignore")

    database_url: str | None = Field(
        default=None,
        description="postgresql://… of the database; without it `bps` runs a private cluster.",
    )
    data_dir: Path = Field(default=Path(".bps"), description="Where the private cluster lives.")
    host: str = "127.0.0.1"
    port: int = 8000
    database_pool_size: int = Field(
        default=16, ge=1, description="Connections one API process keeps at most."
    )
    database_pool_timeout_seconds: float = Field(
        default=5.0, gt=0, description="How long a request waits for a connection before 503."
    )
    statement_timeout_seconds: float = Field(
        default=30.0, gt=0, description="Longest statement of an API request."
    )
    max_json_bytes: int = Field(
        default=5 * 1024 * 1024, description="Largest JSON body; NDJSON is streamed and unlimited."
    )
    log_level: str = "INFO"
