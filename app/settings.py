"""What the operator may set, from the environment or a `.env` file.

Importing this does no I/O.
"""

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, SecretStr, model_validator
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

    face_provider: Literal["none", "rekognition"] = Field(
        default="none", description="Who recognises faces; without one those routes answer 503."
    )
    rekognition_region: str | None = Field(
        default=None, description="AWS region of Rekognition; without it AWS's own settings hold."
    )
    rekognition_endpoint_url: str | None = Field(
        default=None, description="Another address that speaks Rekognition's protocol."
    )
    rekognition_connections: int = Field(
        default=16, ge=1, description="Calls to Rekognition at the same time from one process."
    )
    rekognition_connect_timeout_seconds: float = Field(default=2.0, gt=0)
    rekognition_read_timeout_seconds: float = Field(default=8.0, gt=0)
    rekognition_attempts: int = Field(
        default=3, ge=1, description="How often one call is tried before it counts as failed."
    )
    rekognition_search_rate: float = Field(
        default=4.0,
        gt=0,
        description="Searches, enrolments and listings a second from one process; an AWS account "
        "may make 5 of each in most regions, 50 in N. Virginia, Oregon and Ireland.",
    )
    rekognition_detect_rate: float = Field(
        default=20.0, gt=0, description="Detections and comparisons a second; AWS allows 25 to 100."
    )
    rekognition_change_rate: float = Field(
        default=4.0, gt=0, description="Creations and deletions a second; AWS allows 5."
    )
    rekognition_tenant_share: float = Field(
        default=0.5, gt=0, le=1, description="How much of each rate one tenant may use."
    )
    rekognition_rate_wait_seconds: float = Field(
        default=1.0, ge=0, description="How long a call may wait for its turn before 429 or 503."
    )
    rekognition_failures_to_open: int = Field(
        default=5, ge=1, description="Failures in a row after which calls are refused at once."
    )
    rekognition_open_seconds: float = Field(
        default=15.0, gt=0, description="How long they are refused before one is tried again."
    )

    object_store: Literal["folder", "s3"] = Field(
        default="folder", description="Where photos are kept."
    )
    photo_dir: Path | None = Field(
        default=None, description="Folder of the photos; without it `photos` in DATA_DIR."
    )
    photo_link_secret: SecretStr | None = Field(
        default=None,
        min_length=32,
        description="Signs links to photos in the folder; without it one is made and kept there.",
    )
    s3_bucket: str | None = None
    s3_region: str | None = None
    s3_endpoint_url: str | None = Field(
        default=None, description="Address of another store that speaks S3."
    )
    s3_path_style: bool = Field(
        default=False, description="Whether the bucket is in the path, not in the host name."
    )
    s3_encryption: Literal["AES256", "aws:kms", "none"] = Field(
        default="AES256", description="Encryption at rest that is asked for with each photo."
    )
    s3_kms_key_id: str | None = Field(
        default=None, description="Key for aws:kms; without it the account's own."
    )
    s3_connections: int = Field(default=8, ge=1)
    s3_connect_timeout_seconds: float = Field(default=2.0, gt=0)
    s3_read_timeout_seconds: float = Field(default=10.0, gt=0)

    @model_validator(mode="after")
    def _bucket_named(self) -> Self:
        if self.object_store == "s3" and not self.s3_bucket:
            raise ValueError("OBJECT_STORE=s3 needs S3_BUCKET")
        return self
