"""Write `docs/criteria.schema.json` anew."""

import json
from pathlib import Path

from app.domain.criteria_schema import criteria_schema

FILE = Path(__file__).parents[2] / "docs" / "criteria.schema.json"

if __name__ == "__main__":
    FILE.write_text(json.dumps(criteria_schema(), indent=2) + "\n")
