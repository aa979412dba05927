"""Greater Jakarta: real districts and malls with approximate coordinates (WGS 84, degrees)."""

from dataclasses import dataclass

import numpy as np

from app.domain.demo.columns import Columns, Flags, Floats, Ints

METRES_PER_DEGREE = 111_320.0
"""Of latitude, and within 0.7 % of longitude this close to the equator."""

# Name, city, postal code, latitude, longitude, share of customers.
_DISTRICTS = (
    ("Kebayoran Baru", "Jakarta Selatan", "12110", -6.2437, 106.7990, 3),
    ("Tebet", "Jakarta Selatan", "12810", -6.2266, 106.8584, 3),
    ("Pasar Minggu", "Jakarta Selatan", "12520", -6.2910, 106.8330, 3),
    ("Cilandak", "Jakarta Selatan", "12430", -6.2904, 106.7960, 3),
    ("Jagakarsa", "Jakarta Selatan", "12620", -6.3347, 106.8230, 3),
    ("Pesanggrahan", "Jakarta Selatan", "12320", -6.2580, 106.7580, 2),
    ("Mampang Prapatan", "Jakarta Selatan", "12790", -6.2440, 106.8220, 2),
    ("Menteng", "Jakarta Pusat", "10310", -6.1960, 106.8320, 1),
    ("Tanah Abang", "Jakarta Pusat", "10230", -6.2050, 106.8110, 2),
    ("Kemayoran", "Jakarta Pusat", "10620", -6.1620, 106.8560, 2),
    ("Cempaka Putih", "Jakarta Pusat", "10510", -6.1810, 106.8690, 1),
    ("Kebon Jeruk", "Jakarta Barat", "11530", -6.1930, 106.7690, 3),
    ("Kembangan", "Jakarta Barat", "11610", -6.1910, 106.7400, 3),
    ("Cengkareng", "Jakarta Barat", "11730", -6.1490, 106.7350, 4),
    ("Grogol Petamburan", "Jakarta Barat", "11450", -6.1620, 106.7880, 2),
    ("Kalideres", "Jakarta Barat", "11840", -6.1360, 106.7020, 3),
    ("Palmerah", "Jakarta Barat", "11480", -6.1960, 106.7920, 2),
    ("Kelapa Gading", "Jakarta Utara", "14240", -6.1600, 106.9050, 4),
    ("Tanjung Priok", "Jakarta Utara", "14310", -6.1320, 106.8720, 2),
    ("Penjaringan", "Jakarta Utara", "14440", -6.1260, 106.7820, 2),
    ("Koja", "Jakarta Utara", "14210", -6.1170, 106.9060, 1),
    ("Cakung", "Jakarta Timur", "13910", -6.1830, 106.9480, 4),
    ("Duren Sawit", "Jakarta Timur", "13440", -6.2330, 106.9190, 4),
    ("Jatinegara", "Jakarta Timur", "13310", -6.2300, 106.8820, 2),
    ("Kramat Jati", "Jakarta Timur", "13510", -6.2750, 106.8690, 2),
    ("Cipayung", "Jakarta Timur", "13840", -6.3260, 106.8980, 2),
    ("Pulo Gadung", "Jakarta Timur", "13220", -6.1910, 106.8900, 2),
    ("Bekasi Barat", "Bekasi", "17130", -6.2350, 106.9750, 4),
    ("Bekasi Timur", "Bekasi", "17110", -6.2500, 107.0180, 3),
    ("Bekasi Utara", "Bekasi", "17120", -6.2020, 107.0010, 4),
    ("Bekasi Selatan", "Bekasi", "17140", -6.2590, 106.9800, 3),
    ("Jatiasih", "Bekasi", "17420", -6.2960, 106.9560, 2),
    ("Pondok Gede", "Bekasi", "17410", -6.2830, 106.9110, 2),
    ("Beji", "Depok", "16420", -6.3800, 106.8220, 3),
    ("Pancoran Mas", "Depok", "16430", -6.4000, 106.8070, 2),
    ("Cimanggis", "Depok", "16450", -6.3660, 106.8600, 3),
    ("Sukmajaya", "Depok", "16410", -6.3860, 106.8490, 2),
    ("Tangerang", "Tangerang", "15110", -6.1780, 106.6310, 2),
    ("Karawaci", "Tangerang", "15110", -6.1830, 106.6060, 2),
    ("Cipondoh", "Tangerang", "15140", -6.1880, 106.6830, 2),
    ("Ciledug", "Tangerang", "15150", -6.2350, 106.7060, 2),
    ("Serpong", "Tangerang Selatan", "15310", -6.3090, 106.6690, 4),
    ("Pondok Aren", "Tangerang Selatan", "15220", -6.2670, 106.7040, 3),
    ("Ciputat", "Tangerang Selatan", "15410", -6.3120, 106.7480, 3),
    ("Pamulang", "Tangerang Selatan", "15410", -6.3430, 106.7290, 3),
    ("Bogor Tengah", "Bogor", "16120", -6.5950, 106.7950, 2),
    ("Cibinong", "Kabupaten Bogor", "16910", -6.4830, 106.8540, 2),
)

# Name, kind, address, city, latitude, longitude.
_STORES = (
    ("Grand Indonesia", "mall", "Jl. M.H. Thamrin No. 1", "Jakarta Pusat", -6.1952, 106.8203),
    ("Kota Kasablanka", "mall", "Jl. Casablanca Kav. 88", "Jakarta Selatan", -6.2239, 106.8432),
    ("Pondok Indah Mall", "mall", "Jl. Metro Pondok Indah", "Jakarta Selatan", -6.2655, 106.7842),
    ("Lippo Mall Puri", "mall", "Jl. Puri Indah Raya", "Jakarta Barat", -6.1879, 106.7392),
    ("Mall Kelapa Gading", "mall", "Jl. Boulevard Raya", "Jakarta Utara", -6.1575, 106.9081),
    ("AEON Mall Jakarta Garden City", "mall", "Cakung", "Jakarta Timur", -6.1756, 106.9497),
    ("Summarecon Mall Bekasi", "mall", "Jl. Boulevard Ahmad Yani", "Bekasi", -6.2262, 107.0009),
    ("Margo City", "mall", "Jl. Margonda Raya No. 358", "Depok", -6.3730, 106.8343),
    ("AEON Mall BSD City", "mall", "Jl. BSD Raya Utama", "Tangerang Selatan", -6.3048, 106.6436),
    ("Botani Square", "mall", "Jl. Raya Pajajaran", "Bogor", -6.6014, 106.8069),
    ("Pasar Asemka", "wholesale", "Jl. Pintu Kecil", "Jakarta Barat", -6.1363, 106.8110),
    ("Tanah Abang Blok A", "wholesale", "Jl. Fachrudin", "Jakarta Pusat", -6.1887, 106.8107),
)  # fmt: skip

DISTRICT_NAMES = np.array([row[0] for row in _DISTRICTS])
DISTRICT_CITIES = np.array([row[1] for row in _DISTRICTS])
DISTRICT_POSTAL_CODES = np.array([row[2] for row in _DISTRICTS])
DISTRICT_CENTRES = np.array([(row[3], row[4]) for row in _DISTRICTS])
_DISTRICT_SHARES = np.cumsum([row[5] for row in _DISTRICTS]) / sum(row[5] for row in _DISTRICTS)

STORE_IDS = np.array([f"store-{number:02d}" for number in range(1, len(_STORES) + 1)])
STORE_POINTS = np.array([(row[4], row[5]) for row in _STORES])
_IS_WHOLESALE = np.array([row[1] == "wholesale" for row in _STORES])
MALLS = np.flatnonzero(~_IS_WHOLESALE)
"""The stores where anyone may walk in, by number."""


@dataclass(frozen=True, slots=True, eq=False)
class Homes:
    """Where each customer lives: a district, a point (latitude, longitude), the usual store."""

    district: Ints
    point: Floats
    store: Ints


def stores() -> Columns:
    """The stores of the business."""
    return {
        "id": STORE_IDS,
        "name": np.array([row[0] for row in _STORES]),
        "kind": np.array([row[1] for row in _STORES]),
        "address": np.array([row[2] for row in _STORES]),
        "city": np.array([row[3] for row in _STORES]),
        "latitude": STORE_POINTS[:, 0],
        "longitude": STORE_POINTS[:, 1],
    }


def settle(rng: np.random.Generator, wholesale: Flags) -> Homes:
    """A home for each customer; people use the nearest mall, shops the nearest wholesale store."""
    size = len(wholesale)
    district = np.searchsorted(_DISTRICT_SHARES, rng.random(size), side="right")
    point = scatter(rng, DISTRICT_CENTRES[district], metres=900.0)
    distance = np.hypot(
        point[:, None, 0] - STORE_POINTS[None, :, 0], point[:, None, 1] - STORE_POINTS[None, :, 1]
    )
    distance[wholesale[:, None] != _IS_WHOLESALE[None, :]] += 10.0
    # One in seven prefers the second nearest: a workplace, a school, a habit.
    nearest = np.argpartition(distance, 1, axis=1)[:, :2]
    nearer = np.take_along_axis(distance, nearest, axis=1).argmin(axis=1)
    choice = np.where(rng.random(size) < 0.86, nearer, 1 - nearer)
    return Homes(district, point, nearest[np.arange(size), choice])


def scatter(rng: np.random.Generator, points: Floats, *, metres: float) -> Floats:
    """The points moved at random, by a normal distance of `metres` on each axis, at most thrice."""
    shift = np.clip(rng.normal(0.0, 1.0, points.shape), -3.0, 3.0)
    return np.round(points + shift * metres / METRES_PER_DEGREE, 6)
