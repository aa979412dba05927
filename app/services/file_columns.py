"""Which column of a file is which field, and what its cells mean."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date, datetime
from functools import lru_cache
from typing import Any

from app.domain.errors import InvalidInput

#: The names under which fields are found by themselves, the likeliest first. A header matches in
#: any case and with any punctuation; the field's own name always matches.
ORDER_COLUMNS: Mapping[str, tuple[str, ...]] = {
    "id": ("orderid", "orderno", "ordernumber", "invoiceno", "invoiceid", "invoice", "order",
           "transactionid", "receiptno", "receipt"),
    "customerId": ("customerid", "customer", "customerno", "cust", "custid", "client", "clientid",
                   "memberid", "buyerid", "userid"),
    "orderedAt": ("orderedat", "orderdate", "invoicedate", "date", "datetime", "timestamp",
                  "transactiondate", "purchasedate", "orderedon", "time"),
    "totalAmount": ("totalamount", "total", "amount", "grandtotal", "ordertotal", "revenue",
                    "sales", "value", "price"),
    "discountAmount": ("discountamount", "discount"),
    "refundAmount": ("refundamount", "refund"),
    "status": ("orderstatus", "status"),
    "storeId": ("storeid", "store", "branch", "branchid", "outlet", "venue", "shop"),
    "currency": ("currency",),
    "paymentMethod": ("paymentmethod", "payment", "paymenttype", "tender"),
    "channel": ("channel", "saleschannel"),
    "itemCount": ("itemcount", "items", "quantity", "qty", "units"),
    "notes": ("notes", "note", "comment", "remarks"),
    "updatedAt": ("updatedat", "lastmodified", "modifiedat"),
}  # fmt: skip
LINE_COLUMNS: Mapping[str, tuple[str, ...]] = {
    **{
        field: ORDER_COLUMNS[field]
        for field in ("id", "customerId", "orderedAt", "storeId", "status", "paymentMethod",
                      "channel")
    },
    "productId": ("productid", "sku", "stockcode", "itemid", "productcode", "product", "item"),
    "productName": ("productname", "description", "name", "title"),
    "category": ("category", "department", "productcategory"),
    "brand": ("brand", "make"),
    "quantity": ("quantity", "qty", "units"),
    "unitPrice": ("unitprice", "price"),
    "discountAmount": ("discountamount", "discount"),
}  # fmt: skip
LOCATION_COLUMNS: Mapping[str, tuple[str, ...]] = {
    "captureId": ("captureid", "id", "locationid", "fixid"),
    "customerId": ORDER_COLUMNS["customerId"],
    "latitude": ("lat",),
    "longitude": ("lon", "lng", "long"),
    "accuracy": ("accuracymetres", "accuracymeters", "horizontalaccuracy"),
    "altitude": ("elevation", "ele"),
    "speed": (),
    "heading": ("bearing", "course"),
    "source": ("provider",),
    "capturedBy": ("employeeid", "employee", "agent"),
    "deviceId": ("device",),
    "visitType": ("visit",),
    "notes": ("visitnotes", "note", "comment"),
    "photoUrl": ("photo",),
    "capturedAt": ("timestamp", "datetime", "time", "date", "recordedat"),
}
#: Where an event happened are fields of their own in a file.
EVENT_COLUMNS: Mapping[str, tuple[str, ...]] = {
    "eventId": ("id",),
    "customerId": ORDER_COLUMNS["customerId"],
    "eventType": ("event", "eventname", "type", "action", "behavior"),
    "occurredAt": ("createdat", "eventtime", "eventtimestamp", "timestamp", "datetime", "time",
                   "date"),
    "eventCategory": ("category", "source", "channel"),
    "productId": LINE_COLUMNS["productId"],
    "productName": ("description", "name", "title"),
    "productCategory": ("categorycode", "department"),
    "eventValue": ("value", "price", "amount", "revenue"),
    "eventProperties": ("properties", "attributes"),
    "pageUrl": ("url", "page"),
    "referrerUrl": ("referrer", "referer"),
    "ipAddress": ("ip",),
    "userAgent": (),
    "deviceType": ("device",),
    "browser": (),
    "os": ("operatingsystem",),
    "latitude": ("lat",),
    "longitude": ("lon", "lng"),
    "country": (),
    "city": (),
    "sessionId": ("session", "usersession", "visitid"),
}  # fmt: skip
_CUSTOMER_ALIASES: Mapping[str, tuple[str, ...]] = {
    "id": ORDER_COLUMNS["customerId"],
    "code": ("customercode",),
    "name": ("customername", "fullname"),
    "email": ("emailaddress", "mail"),
    "phone": ("phonenumber", "telephone", "mobile", "whatsapp"),
    "customerType": ("type",),
    "companyName": ("company",),
    "membershipTier": ("tier", "membership"),
    "dateOfBirth": ("birthdate", "dob", "birthday"),
    "lastKnownLatitude": ("latitude", "lat"),
    "lastKnownLongitude": ("longitude", "lon", "lng"),
    "homeStoreId": ("homestore", "store", "storeid"),
    "referredByCustomerId": ("referredby", "referrer", "referrerid"),
}


def customer_columns(fields: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """The header names of each field of a customer."""
    return {field: _CUSTOMER_ALIASES.get(field, ()) for field in fields}


def map_columns(
    header: Sequence[str],
    known: Mapping[str, tuple[str, ...]],
    given: Mapping[str, str],
    required: Iterable[str],
) -> dict[str, int]:
    """The place of each field's column: as `given` by header, else found by name.

    Raises InvalidInput where a field or a header does not exist, or a required field has no column.
    """
    places: dict[str, int] = {}
    for field, name in given.items():
        if field not in known:
            raise InvalidInput("column", f"{field} is not one of {', '.join(known)}")
        if name not in header:
            raise InvalidInput("column", f"the file has no column {name!r}: {', '.join(header)}")
        places[field] = header.index(name)
    plain = [_plain(name) for name in header]
    for field, names in known.items():
        if field in places:
            continue
        for name in (_plain(field), *names):
            if name in plain and plain.index(name) not in places.values():
                places[field] = plain.index(name)
                break
    missing = [field for field in required if field not in places]
    if missing:
        raise InvalidInput(
            "column",
            f"no column of the file is {' or '.join(missing)}; name it, as in "
            f"--column {missing[0]}=HEADER. The file has: {', '.join(header)}",
        )
    return places


def _plain(name: str) -> str:
    return re.sub(r"[\W_]", "", name).lower()


_DAY = re.compile(
    r"(\d{1,2})[/.\-](\d{1,2})[/.\-](\d{4}|\d{2})"
    r"(?:[ T,]+(\d{1,2}):(\d{2})(?::(\d{2})(?:\.\d+)?)?\s*([AaPp][Mm])?)?"
)
_COMPACT = re.compile(r"\d{8}")

ReadDate = Callable[[Any], Any]


class DayOrder:
    """Whether the dates of a file put the day or the month first, learnt from the dates."""

    def __init__(self) -> None:
        self._day_first: bool | None = None
        self._example: str | None = None

    @property
    def is_open(self) -> bool:
        """Whether dates were seen that could be read either way, and none that could not."""
        return self._example is not None and self._day_first is None

    @property
    def day_first(self) -> bool:
        """True where 3/4 is in April. Raises InvalidInput where it could be both."""
        if self.is_open:
            raise InvalidInput(
                "date-format",
                f"{self._example!r} may be either way round; say --date-format d/m/y or m/d/y",
            )
        return bool(self._day_first)

    def learn(self, cells: Iterable[Any]) -> None:
        """Look at more dates. Raises InvalidInput where they contradict each other."""
        for cell in cells:
            match = _DAY.fullmatch(cell.strip()) if isinstance(cell, str) else None
            if match is None:
                continue
            first, second = int(match[1]), int(match[2])
            if first > 12 >= second or second > 12 >= first:
                day_first = first > 12
                if self._day_first not in (None, day_first):
                    raise InvalidInput(
                        "date-format",
                        f"{cell!r} has day and month the other way round than rows before it",
                    )
                self._day_first = day_first
            elif self._example is None:
                self._example = cell


def date_reader(day_first: bool, date_format: str | None = None) -> ReadDate:
    """A function that turns a cell into a datetime, without a zone where the cell has none.

    A cell that is no date in the file's way of writing is handed on as it is, to be refused.
    """
    if date_format is not None and "%" in date_format:
        return lambda cell: _strptime(cell, date_format)

    @lru_cache(maxsize=65_536)
    def read(cell: str) -> Any:
        text = cell.strip()
        if _COMPACT.fullmatch(text):
            return _strptime(text, "%Y%m%d")
        match = _DAY.fullmatch(text)
        if match is not None:
            return _from_parts(match, day_first) or text
        try:
            return datetime.fromisoformat(text)
        except ValueError:
            return text

    def read_any(cell: Any) -> Any:
        if isinstance(cell, str):
            return read(cell)
        if isinstance(cell, date) and not isinstance(cell, datetime):
            return datetime(cell.year, cell.month, cell.day)  # noqa: DTZ001 - a day has no zone
        return cell

    return read_any


def _strptime(cell: Any, date_format: str) -> Any:
    try:
        return datetime.strptime(str(cell).strip(), date_format)  # noqa: DTZ007 - the zone is the tenant's
    except ValueError:
        return cell


def _from_parts(match: re.Match[str], day_first: bool) -> datetime | None:
    first, second, year = int(match[1]), int(match[2]), int(match[3])
    if len(match[3]) == 2:
        year += 2000 if year < 70 else 1900
    day, month = (first, second) if day_first else (second, first)
    hour = int(match[4] or 0)
    if match[7]:
        hour = hour % 12 + (12 if match[7].lower() == "pm" else 0)
    try:
        return datetime(year, month, day, hour, int(match[5] or 0), int(match[6] or 0))  # noqa: DTZ001
    except ValueError:
        return None


_DECIMAL_COMMA = re.compile(r"-?\d+,\d{1,2}")
_THOUSANDS = re.compile(r"-?\d{1,3}(,\d{3})+(\.\d+)?")
_POINT_THOUSANDS = re.compile(r"-?\d{1,3}(\.\d{3})+,\d{1,2}")


def plain_number(cell: Any) -> Any:
    """A number as Python writes it, from one with a decimal comma or grouped thousands."""
    if not isinstance(cell, str) or "," not in cell:
        return cell
    text = cell.strip()
    if _THOUSANDS.fullmatch(text):
        return text.replace(",", "")
    if _DECIMAL_COMMA.fullmatch(text) or _POINT_THOUSANDS.fullmatch(text):
        return text.replace(".", "").replace(",", ".")
    return cell
