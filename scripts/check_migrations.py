"""Fail when the migrations do not lead to the tables that the repositories declare."""

from alembic import command

from app.embedded import throwaway_cluster
from app.migration import alembic_config


def main() -> None:
    with throwaway_cluster() as url:
        config = alembic_config(url)
        command.upgrade(config, "head")
        command.check(config)


if __name__ == "__main__":
    main()
