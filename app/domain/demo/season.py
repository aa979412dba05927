"""When people of Greater Jakarta shop: the day's weight, its sales, and the hours."""

from datetime import date, timedelta

import numpy as np

from app.domain.demo.columns import Flags, Floats, Instants, Ints, Mix, at_each

LOCAL_OFFSET = np.timedelta64(7, "h")
"""Asia/Jakarta is UTC+7 all year."""

WEEKDAY_WEIGHTS = np.array([0.82, 0.80, 0.84, 0.88, 1.05, 1.42, 1.38])  # Monday first
PAYDAY, TWIN_DATE, LEBARAN_SEASON, LEBARAN, BACK_TO_SCHOOL, YEAR_END = (
    1.35,
    2.1,
    1.7,
    0.35,
    1.4,
    1.3,
)

STORE_WEEKDAY = Mix.of(
    {"10": 3, "11": 4, "12": 6, "13": 6, "14": 4, "15": 5, "16": 7, "17": 9, "18": 13, "19": 16,
     "20": 13, "21": 6}
)  # fmt: skip
STORE_WEEKEND = Mix.of(
    {"10": 5, "11": 9, "12": 10, "13": 11, "14": 11, "15": 11, "16": 11, "17": 10, "18": 9, "19": 9,
     "20": 7, "21": 3}
)  # fmt: skip
ONLINE = Mix.of(
    {"0": 1, "5": 1, "6": 2, "7": 3, "8": 4, "9": 4, "10": 4, "11": 5, "12": 8, "13": 6, "14": 4,
     "15": 4, "16": 5, "17": 5, "18": 6, "19": 9, "20": 12, "21": 12, "22": 8, "23": 3}
)  # fmt: skip
OFFICE = Mix.of(
    {"8": 8, "9": 15, "10": 16, "11": 13, "12": 6, "13": 11, "14": 12, "15": 10, "16": 7, "17": 2}
)
HOURS = (STORE_WEEKDAY, STORE_WEEKEND, ONLINE, OFFICE)


def local_days(first: date, days: int) -> Instants:
    """The `days` local days from `first`, as datetime64[D]."""
    return np.datetime64(first, "D") + np.arange(days)


def weekdays(days: Instants) -> Ints:
    """0 for Monday to 6 for Sunday."""
    since_monday: Ints = (days.astype(np.int64) + 3) % 7
    return since_monday


def instants(days: Instants, seconds: Ints) -> Instants:
    """The instants (UTC) of these seconds after local midnight of these days."""
    local: Instants = days.astype("datetime64[s]") + seconds.astype("timedelta64[s]")
    return local - LOCAL_OFFSET


def lebaran(year: int) -> date:
    """The day of Idul Fitri (1 Shawwal) in the Islamic `year`, by the tabular calendar.

    The announced day may differ by one, as it does every few years.
    """
    days_before = (year - 1) * 354 + (3 + 11 * year) // 30 + 266
    return date(622, 7, 19) + timedelta(days=days_before)


def days_to_lebaran(days: Instants) -> Ints:
    """Days from each day to the nearest Idul Fitri: positive before it, negative after."""
    years = days.astype("datetime64[Y]").astype(np.int64) + 1970
    first = int((years.min() - 622) * 33 // 32) - 1
    last = int((years.max() - 622) * 33 // 32) + 2
    feasts = np.array([lebaran(year) for year in range(first, last + 1)], dtype="datetime64[D]")
    distances = (feasts[None, :] - days[:, None]).astype(np.int64)
    nearest = np.abs(distances).argmin(axis=1)
    to_feast: Ints = distances[np.arange(len(days)), nearest]
    return to_feast


def _day_and_month(days: Instants) -> tuple[Ints, Ints]:
    months = days.astype("datetime64[M]")
    return (days - months).astype(np.int64) + 1, months.astype(np.int64) % 12 + 1


def sale_days(days: Instants) -> Flags:
    """Payday week (25th to 1st), twin dates such as 11.11, and the two weeks before Lebaran."""
    day, month = _day_and_month(days)
    to_feast = days_to_lebaran(days)
    on_sale: Flags = (day >= 25) | (day == 1) | (day == month) | ((to_feast > 0) & (to_feast <= 14))
    return on_sale


def day_weights(days: Instants) -> Floats:
    """How much a day sells, relative to a plain one."""
    day, month = _day_and_month(days)
    to_feast = days_to_lebaran(days)
    weights = WEEKDAY_WEIGHTS[weekdays(days)]
    for applies, factor in (
        ((day >= 25) | (day == 1), PAYDAY),
        (day == month, TWIN_DATE),
        ((to_feast > 1) & (to_feast <= 24), LEBARAN_SEASON),
        ((to_feast <= 1) & (to_feast >= -1), LEBARAN),
        (((month == 6) & (day >= 20)) | ((month == 7) & (day <= 15)), BACK_TO_SCHOOL),
        ((month == 12) & (day >= 12), YEAR_END),
    ):
        weights = np.where(applies, weights * factor, weights)
    return weights


def seconds_of_day(rng: np.random.Generator, kinds: Ints, habits: Floats) -> Ints:
    """Local seconds since midnight for each row: the hour from `HOURS[kind]` at its habit."""
    hours = at_each(HOURS, kinds, habits).astype(np.int64)
    return hours * 3600 + rng.integers(0, 3600, len(kinds))
