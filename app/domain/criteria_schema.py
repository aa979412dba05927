"""The JSON Schema of criteria (draft 2020-12), from the same lists that the parser reads."""

from app.domain.criteria_document import (
    FLAT_FORMS,
    MAX_METRES,
    MAX_PROPERTIES,
    MAX_TEXT,
    MAX_VALUES,
    FlatForm,
)
from app.domain.criteria_fields import FIELDS, OPERATORS, Kind, Operator
from app.domain.order import OrderStatus

Schema = dict[str, object]

_TEXT: Schema = {"type": "string", "minLength": 1, "maxLength": MAX_TEXT}
_DURATION: Schema = {
    "type": "string",
    "pattern": r"^P(?=.)(\d+Y)?(\d+M)?(\d+W)?(\d+D)?(T(?=.)(\d+H)?(\d+M)?)?$",
    "description": "ISO 8601 duration; days and months are the tenant's own.",
    "examples": ["P30D", "P1Y6M", "PT12H"],
}
_MONEY: Schema = {"type": ["number", "string"], "description": "In the tenant's currency."}
_VALUES: dict[Kind, Schema] = {
    Kind.TEXT: _TEXT,
    Kind.INTEGER: {"type": "integer"},
    Kind.NUMBER: {"type": "number"},
    Kind.MONEY: _MONEY,
    Kind.BOOLEAN: {"type": "boolean"},
    Kind.INSTANT: {
        "type": "string",
        "description": "ISO 8601 time, or a duration for so long ago.",
    },
    Kind.DAY: {"type": "string", "description": "A day, or a duration for so long ago."},
    Kind.TEXTS: _TEXT,
}


def criteria_schema() -> Schema:
    """The schema of everything that `parse_criteria` takes."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "/api/segmentation/criteria/schema",
        "title": "Criteria of a segment",
        "description": "A tree of `all`, `any` and `not` over clauses, or a flat object.",
        "$ref": "#/$defs/criteria",
        "$defs": {
            "criteria": {
                "anyOf": [
                    *(_single(name, _several()) for name in ("all", "any")),
                    _single("not", {"$ref": "#/$defs/criteria"}),
                    *({"$ref": f"#/$defs/{kind}Field"} for kind in Kind),
                    _single("orders", {"$ref": "#/$defs/orders"}),
                    _single("events", {"$ref": "#/$defs/events"}),
                    _single("place", {"$ref": "#/$defs/place"}),
                    *(_single(name, _TEXT) for name in ("segment", "cohort", "tag")),
                    {"$ref": "#/$defs/flat"},
                ]
            },
            **{f"{kind}Field": _field(kind) for kind in Kind},
            "orders": _orders(),
            "events": _events(),
            "place": _place(),
            "flat": _flat(),
        },
    }


def _several() -> Schema:
    return {"type": "array", "minItems": 1, "items": {"$ref": "#/$defs/criteria"}}


def _object(properties: dict[str, Schema], *, required: list[str] | None = None) -> Schema:
    schema: Schema = {
        "type": "object",
        "properties": properties,
        "additionalProperties": False,
    }
    return schema | ({"required": required} if required else {})


def _single(name: str, schema: Schema) -> Schema:
    return _object({name: schema}, required=[name])


def _list(schema: Schema) -> Schema:
    return {"type": "array", "minItems": 1, "maxItems": MAX_VALUES, "items": schema}


def _text_or_texts(schema: Schema = _TEXT) -> Schema:
    return {"anyOf": [schema, _list(schema)]}


def _operand(operator: Operator, kind: Kind) -> Schema:
    if operator is Operator.EXISTS:
        return {"type": "boolean"}
    if operator in (Operator.WITHIN, Operator.WITHIN_NEXT):
        return _DURATION
    if operator in (Operator.IN, Operator.NOT_IN):
        return _list(_VALUES[kind])
    return _VALUES[kind]


def _tests(kind: Kind) -> dict[str, Schema]:
    return {str(operator): _operand(operator, kind) for operator in OPERATORS[kind]}


def _field(kind: Kind) -> Schema:
    names = sorted(name for name, field in FIELDS.items() if field.kind is kind)
    schema = _object({"field": {"enum": names}, **_tests(kind)}, required=["field"])
    return schema | {"minProperties": 2}


def _measure(kind: Kind) -> Schema:
    return _object(_tests(kind)) | {"minProperties": 1}


def _orders() -> Schema:
    return _object(
        {
            "count": _measure(Kind.INTEGER),
            "sum": _measure(Kind.MONEY),
            "average": _measure(Kind.MONEY),
            "within": _DURATION,
            "status": _text_or_texts({"enum": [str(each) for each in OrderStatus]}),
            "category": _TEXT,
            "store": _TEXT,
        }
    )


def _events() -> Schema:
    return _object(
        {
            "count": _measure(Kind.INTEGER),
            "sum": _measure(Kind.MONEY),
            "within": _DURATION,
            "type": _text_or_texts(),
            "category": _TEXT,
            "product": _TEXT,
            "productCategory": _TEXT,
            "properties": {
                "type": "object",
                "maxProperties": MAX_PROPERTIES,
                "additionalProperties": {"type": ["string", "number", "boolean"]},
            },
        }
    )


def _place() -> Schema:
    circle = _object(
        {
            "latitude": {"type": "number", "minimum": -90, "maximum": 90},
            "longitude": {"type": "number", "minimum": -180, "maximum": 180},
            "metres": {"type": "number", "minimum": 0, "maximum": MAX_METRES},
        },
        required=["latitude", "longitude", "metres"],
    )
    geohash: Schema = {"type": "string", "pattern": "^[0-9b-hjkmnp-zB-HJKMNP-Z]{1,9}$"}
    return {
        "anyOf": [_single("within", circle), _single("zone", _TEXT), _single("geohash", geohash)]
    }


def _flat() -> Schema:
    properties: dict[str, Schema] = {}
    for name, form in FLAT_FORMS.items():
        properties[name] = properties[_camel(name)] = _flat_value(form)
    return _object(properties) | {"minProperties": 1}


def _flat_value(form: FlatForm) -> Schema:
    if form.holds is not None:
        return {"type": "boolean"}
    kind = FIELDS[form.field].kind
    value = _operand(form.operator, kind)
    return _text_or_texts(value) if form.operator is Operator.EQ else value


def _camel(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(part.capitalize() for part in others)
