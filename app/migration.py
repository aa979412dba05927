"""Bringing a database to the newest schema, from a checkout or an installed package alike."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory

_SCRIPTS = Path(__file__).parent.parent / "migrations"


def alembic_config(url: str) -> Config:
    """Alembic's configuration for the database at `url`."""
    config = Config()
    config.set_main_option("script_location", str(_SCRIPTS))
    config.set_main_option("sqlalchemy.url", url.replace("%", "%%"))  # its reader interpolates
    return config


def migrate(url: str) -> str:
    """Bring the database at `url` to the newest schema; return its revision.

    Not to be called inside a running event loop: the migrations start their own.
    """
    config = alembic_config(url)
    command.upgrade(config, "head")
    return ScriptDirectory.from_config(config).get_current_head() or "none"
