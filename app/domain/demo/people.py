"""Customers as people and firms: names, ways to reach them, loyalty, where they came from."""

import numpy as np

from app.domain.demo.columns import (
    Column,
    Columns,
    Flags,
    Floats,
    Instants,
    Ints,
    Mix,
    Texts,
    missing,
    numbered,
)
from app.domain.demo.geography import (
    DISTRICT_CITIES,
    DISTRICT_NAMES,
    DISTRICT_POSTAL_CODES,
    Homes,
    scatter,
)
from app.domain.demo.population import Shoppers
from app.domain.demo.sales import Sales, minor


def _words(listed: str) -> Texts:
    return np.array(listed.split())


_WOMEN = _words(
    """
    Siti Dewi Sri Ayu Putri Rina Rini Wulan Indah Fitri Nurul Lestari Ratna Maya Dian Yuni
    Ani Eka Intan Kartika Mega Nadia Novi Rahma Sari Tika Vina Wati Yanti Zahra Aisyah
    Annisa Bunga Citra Desi Endah Fatimah Gita Hani Laila
    """
)
_MEN = _words(
    """
    Budi Agus Andi Dedi Eko Hendra Joko Rudi Slamet Wahyu Bambang Arif Fajar Dimas Rizky
    Yusuf Ahmad Hadi Iwan Teguh
    """
)
_FAMILIES = _words(
    """
    Santoso Wijaya Kusuma Hidayat Setiawan Saputra Nugroho Pratama Wibowo Susanto Hartono
    Gunawan Siregar Nasution Simanjuntak Lubis Harahap Situmorang Sitorus Panjaitan Tanjung
    Rahmawati Permata Utami Maharani Handayani Puspita Anggraini Safitri Kurniawan
    Firmansyah Ramadhan Maulana Hakim Suryadi Halim Salim Tanuwijaya Lesmana Chandra Widodo
    Purnomo Suharto Mulyadi Iskandar Fauzi Ginting Sembiring Manurung Yulianti
    """
)
_FIRM_FORMS = Mix.of({"Toko": 50, "CV": 24, "PT": 12, "UD": 14})
_FIRM_WORDS = _words(
    """
    Maju Jaya Sumber Rejeki Berkah Makmur Sentosa Abadi Mitra Anak Ceria Bahagia Sinar Mas
    Cahaya Harapan Bunda Kasih Pelita Mandiri
    """
)
_STREETS = _words(
    """
    Melati Mawar Kenanga Anggrek Cempaka Flamboyan Merpati Rajawali Kutilang Diponegoro
    Sudirman Kartini Pahlawan Merdeka Veteran Gatot-Subroto Cendana Jati Mahoni Bougenville
    """
)
_PHONE_PREFIXES = _words(
    """
    811 812 813 821 822 852 853 857 858 877 878 895 896 881
    """
)

_SOURCES = Mix.of({"organic": 52, "ads": 34, "salesperson": 14})
_CAMPAIGNS = Mix.of(
    {
        "ig-back-to-school": 30,
        "tiktok-lebaran": 26,
        "google-baby-gear": 20,
        "mall-booth": 14,
        "11-11": 10,
    }
)
_REFERRED = 0.17
_TAGS = Mix.of(
    {
        "": 58,
        "ibu_pkk": 12,
        "arisan_rt5": 9,
        "komite_sekolah": 8,
        "ibu_pkk,arisan_rt5": 4,
        "komunitas_parenting": 6,
        "majelis_taklim": 3,
    }
)
_CONTACT = Mix.of({"whatsapp": 71, "email": 13, "phone": 12, "visit": 4})
_INCOME = Mix.of({"low": 18, "medium": 46, "high": 27, "premium": 9})
_OCCUPATIONS = Mix.of(
    {
        "ibu rumah tangga": 34,
        "karyawan swasta": 31,
        "wiraswasta": 13,
        "guru": 8,
        "pegawai negeri": 9,
        "tenaga kesehatan": 5,
    }
)
_EDUCATION = Mix.of({"sma": 38, "diploma": 17, "sarjana": 39, "magister": 6})
_LOCATION_SOURCES = Mix.of({"gps": 52, "network": 26, "geocoded": 16, "manual": 6})
_TERMS = Mix.of({"14": 35, "30": 45, "45": 14, "60": 6})
_TIER_NAMES = np.array(["bronze", "silver", "gold", "platinum"])
_TIER_POINTS = np.array([150, 500, 1_500])
_RUPIAH_A_POINT = 10_000.0


def customer_ids(numbers: Ints) -> Texts:
    """The external ids of customers by their numbers from 1."""
    return numbered("cus-", numbers, 7)


def customer_columns(
    rng: np.random.Generator,
    shoppers: Shoppers,
    homes: Homes,
    sales: Sales,
    *,
    numbers: Ints,
    end: np.datetime64,
) -> Columns:
    """The declared attributes of the chunk's customers; `end` is the instant history ends.

    `referrer_no` indexes the chunk's customers and is always an earlier one, so referrals form a
    forest; `store_no` indexes the stores.
    """
    size = len(numbers)
    wholesale = shoppers.wholesale
    first_at, last_at, spent = _history(sales, size)
    woman = rng.random(size) < np.where(wholesale, 0.42, 0.78)
    given = np.where(
        woman, _WOMEN[rng.integers(0, len(_WOMEN), size)], _MEN[rng.integers(0, len(_MEN), size)]
    )
    family = _FAMILIES[rng.integers(0, len(_FAMILIES), size)]
    referrer = _referrers(rng, size)
    referred = ~np.ma.getmaskarray(referrer)
    source = np.where(referred, "referral", _SOURCES.draw(rng, size))
    captured = np.maximum(
        first_at, end - rng.integers(3_600, 90 * 86_400, size).astype("timedelta64[s]")
    )
    unlocated = rng.random(size) < 0.15
    point = scatter(rng, homes.point, metres=60.0)
    points = np.floor(spent / _RUPIAH_A_POINT).astype(np.int64)
    tier = _TIER_NAMES[np.searchsorted(_TIER_POINTS, points, side="right")]
    idle = end - last_at > np.timedelta64(400, "D")
    status = np.where(idle & (rng.random(size) < 0.2), "inactive", "active")
    status[rng.random(size) < 0.004] = "blocked"
    born = _birthdays(rng, size, end)
    return {
        "id": customer_ids(numbers),
        "code": numbered("CUS-", numbers, 4),
        "name": np.strings.add(np.strings.add(given, " "), family),
        "email": _emails(rng, given, family, numbers),
        "phone": missing(_phones(rng, numbers), rng.random(size) < 0.03),
        "customer_type": np.where(wholesale, "wholesale", "retail"),
        "status": status,
        **_firm_columns(rng, wholesale, spent, first_at, end),
        "loyalty_points": missing(points, wholesale),
        "membership_tier": missing(tier, wholesale),
        "store_no": homes.store,
        "last_known_latitude": missing(point[:, 0], unlocated),
        "last_known_longitude": missing(point[:, 1], unlocated),
        "last_location_accuracy": missing(np.round(rng.lognormal(2.8, 0.7, size), 1), unlocated),
        "last_location_source": missing(_LOCATION_SOURCES.draw(rng, size), unlocated),
        "last_location_captured_at": missing(captured, unlocated),
        "date_of_birth": missing(born, wholesale | (rng.random(size) < 0.25)),
        "gender": np.where(rng.random(size) < 0.05, "unknown", np.where(woman, "female", "male")),
        "income_bracket": missing(_INCOME.draw(rng, size), rng.random(size) < 0.4),
        "occupation": missing(_OCCUPATIONS.draw(rng, size), wholesale | (rng.random(size) < 0.35)),
        "education_level": missing(_EDUCATION.draw(rng, size), rng.random(size) < 0.5),
        "preferred_contact_channel": _CONTACT.draw(rng, size),
        "opt_in_whatsapp": rng.random(size) < 0.72,
        "opt_in_email": rng.random(size) < 0.41,
        "opt_in_sms": rng.random(size) < 0.22,
        "opt_in_push": rng.random(size) < 0.30,
        "acquisition_source": source,
        "acquisition_campaign": missing(_CAMPAIGNS.draw(rng, size), source != "ads"),
        "referrer_no": referrer,
        "community_tags": _TAGS.draw(rng, size),
        "created_at": first_at,
        "updated_at": last_at,
    }


def address_columns(
    rng: np.random.Generator, homes: Homes, wholesale: Flags, numbers: Ints
) -> Columns:
    """A primary address for everyone, and a second for one in five (a warehouse for a firm)."""
    size = len(numbers)
    second = np.flatnonzero(rng.random(size) < 0.2)
    owner = np.concatenate([np.arange(size), second])
    primary = np.arange(len(owner)) < size
    district = homes.district[owner]
    point = np.where(
        primary[:, None], homes.point[owner], scatter(rng, homes.point[owner], metres=700.0)
    )
    street = np.strings.add(
        "Jl. ", np.strings.replace(_STREETS[rng.integers(0, len(_STREETS), len(owner))], "-", " ")
    )
    house = numbered(" No. ", rng.integers(1, 180, len(owner)), 1)
    suffix = np.where(primary, "-1", "-2")
    elsewhere = np.where(wholesale[owner], "gudang", "kantor")
    return {
        "id": np.strings.add(numbered("addr-", numbers[owner], 7), suffix),
        "customer_no": owner,
        "label": np.where(primary, np.where(wholesale[owner], "toko", "rumah"), elsewhere),
        "line": np.strings.add(
            np.strings.add(street, house), np.strings.add(", ", DISTRICT_NAMES[district])
        ),
        "city": DISTRICT_CITIES[district],
        "postal_code": DISTRICT_POSTAL_CODES[district],
        "latitude": point[:, 0],
        "longitude": point[:, 1],
        "is_primary": primary,
    }


def _history(sales: Sales, size: int) -> tuple[Instants, Instants, Floats]:
    """First and last order and money kept of each customer; everyone has at least one order."""
    ends = np.cumsum(np.bincount(sales.owner, minlength=size))
    first_at = sales.ordered_at[np.append(0, ends[:-1])]
    last_at = sales.ordered_at[ends - 1]
    spent = np.bincount(sales.owner, weights=sales.paid, minlength=size).astype(np.float64)
    return first_at, last_at, spent


def _referrers(rng: np.random.Generator, size: int) -> Column:
    """Earlier customers, most of them among the one in nine who like to recommend."""
    position = np.arange(size)
    earlier = np.floor(rng.random(size) * position).astype(np.int64)
    referrer = np.where(rng.random(size) < 0.75, earlier - earlier % 9, earlier)
    return missing(referrer, (rng.random(size) >= _REFERRED) | (position == 0))


def _emails(rng: np.random.Generator, given: Texts, family: Texts, numbers: Ints) -> Column:
    local = np.strings.add(np.strings.add(given, "."), family)
    address = np.strings.add(
        np.strings.add(np.strings.lower(local), numbered("", numbers, 1)), "@example.com"
    )
    return missing(address, rng.random(len(numbers)) < 0.32)


def _phones(rng: np.random.Generator, numbers: Ints) -> Texts:
    prefix = np.strings.add(
        "+62", _PHONE_PREFIXES[rng.integers(0, len(_PHONE_PREFIXES), len(numbers))]
    )
    # A multiplier without common factor scatters the numbers and keeps them apart.
    return np.strings.add(prefix, numbered("", numbers * 48_271_483 % 100_000_000, 8))


def _birthdays(rng: np.random.Generator, size: int, end: np.datetime64) -> Instants:
    ages = np.clip(rng.normal(35.0, 7.5, size), 19.0, 70.0)
    born: Instants = end.astype("datetime64[D]") - np.round(ages * 365.25).astype("timedelta64[D]")
    return born


def _firm_columns(
    rng: np.random.Generator,
    wholesale: Flags,
    spent: Floats,
    first_at: Instants,
    end: np.datetime64,
) -> Columns:
    size = len(wholesale)
    words = rng.integers(0, len(_FIRM_WORDS), (2, size))
    name = np.strings.add(np.strings.add(_FIRM_WORDS[words[0]], " "), _FIRM_WORDS[words[1]])
    firm = np.strings.add(np.strings.add(_FIRM_FORMS.draw(rng, size), " "), name)
    months = np.maximum((end - first_at).astype(np.int64) / (30.44 * 86_400), 1.0)
    # A limit of about two months of trade, in steps of five million.
    limit = np.clip(np.ceil(spent / months * 2.0 / 5e6), 2.0, 200.0) * 5e6
    used = np.round(limit * rng.beta(1.5, 3.0, size) / 1_000.0) * 1_000.0
    retail = ~wholesale
    return {
        "company_name": missing(firm, retail),
        "npwp": missing(_tax_numbers(rng, size), retail | (rng.random(size) < 0.15)),
        "credit_limit": missing(minor(limit), retail),
        "credit_used": missing(minor(used), retail),
        "payment_term_days": missing(_TERMS.draw(rng, size).astype(np.int64), retail),
    }


def _tax_numbers(rng: np.random.Generator, size: int) -> Texts:
    """NPWP in its printed form, 00.000.000.0-000.000."""
    number = numbered("", rng.integers(1, 99, size), 2)
    for separator, digits in ((".", 3), (".", 3), (".", 1), ("-", 3), (".", 3)):
        part = numbered(separator, rng.integers(0, 10**digits, size), digits)
        number = np.strings.add(number, part)
    return number
