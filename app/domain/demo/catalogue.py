"""What the business sells: eight categories of sixteen products, each a ladder of prices."""

from dataclasses import dataclass

import numpy as np

from app.domain.demo.columns import Column, Flags, Floats, Ints, Mix, within

# Category: products from the cheapest to the dearest, the two ends of the price ladder (rupiah),
# and its share of lines.
_RANGE: dict[str, tuple[str, int, int, float]] = {
    "toys": (
        "Bubble wand|Spinning top|Card game|Puzzle 60 pieces|Plush bear|Toy car set|"
        "Doll|Clay set|Building bricks 200|Marble run|Remote control car|Play kitchen|"
        "Robot kit|Train set|Balance bike|Ride-on car",
        12_900,
        1_499_000,
        0.24,
    ),
    "clothing": (
        "Socks pair|Singlet|Cap|T-shirt|Leggings|Shorts|Pyjamas|Polo shirt|Skirt|"
        "Batik shirt|Jeans|Muslim dress|Hoodie|School jacket|Party dress|"
        "Lebaran family set",
        15_900,
        489_000,
        0.22,
    ),
    "baby_gear": (
        "Pacifier|Bib set|Baby blanket|Bath seat|Feeding pillow|Baby carrier|Bouncer|"
        "Potty|Walker|Bottle steriliser|High chair|Baby monitor|Playpen|Stroller|"
        "Car seat|Convertible crib",
        24_900,
        2_899_000,
        0.1,
    ),
    "school": (
        "Pencil set|Exercise books|Crayons|Ruler set|Pencil case|Water bottle|"
        "Lunch box|Paint set|Geometry set|Umbrella|School shoes|Backpack|Calculator|"
        "Drawing tablet|Trolley bag|Study desk",
        9_900,
        899_000,
        0.16,
    ),
    "feeding": (
        "Spoon set|Sippy cup|Baby biscuits|Cereal|Snack box|Milk bottle|"
        "Baby porridge|Growing milk 400 g|Divided plate|Growing milk 800 g|"
        "Food maker bowl|Bottle set|Thermos|Milk powder 1.6 kg|Breast pump|"
        "Food processor",
        14_900,
        699_000,
        0.1,
    ),
    "care": (
        "Cotton buds|Wet wipes|Baby soap|Talc|Shampoo|Telon oil|Nappy cream|Lotion|"
        "Towel|Nappies S 40|Nappies M 38|Nappies L 34|Bath set|Nappies XL 56|"
        "Thermometer|Skin care set",
        11_900,
        319_000,
        0.1,
    ),
    "books": (
        "Colouring book|Sticker book|Story of Kancil|Alphabet cards|Iqra set|Pop-"
        "up book|Fairy tales|Activity book|Science for kids|Comic box|Atlas|"
        "Sound book|Picture dictionary|Talking pen|Story library|Encyclopedia set",
        13_900,
        749_000,
        0.05,
    ),
    "shoes": (
        "Flip-flops|Baby booties|Sandals|Slippers|Canvas shoes|Ballet flats|Trainers|"
        "Light-up shoes|Running shoes|Rain boots|Futsal shoes|Black school shoes|"
        "Leather shoes|Boots|Roller shoes|Inline skates",
        29_900,
        599_000,
        0.03,
    ),
}
_LADDER = 16

BRANDS = np.array(
    [
        "Kancil Ceria",
        "Bintang Kecil",
        "Rumah Boneka",
        "Pelangi Kids",
        "Sahabat Cilik",
        "Nusantara Tots",
        "Gajah Biru",
        "Melati Baby",
        "Cerdas Ria",
        "Awan Putih",
    ]
)

CATEGORIES = np.array(list(_RANGE))
_CATEGORY_MIX = Mix.of({str(i): row[3] for i, row in enumerate(_RANGE.values())})


def _ladder(lowest: int, highest: int) -> Floats:
    steps = np.geomspace(lowest, highest, _LADDER)
    # Retail prices end in 900.
    return np.round(steps / 1_000) * 1_000 - 100


PRICES = np.stack([_ladder(low, high) for _, low, high, _ in _RANGE.values()])
"""Rupiah, category by rung."""

NAMES = np.array([row[0].split("|") for row in _RANGE.values()])
PRODUCT_IDS = np.array(
    [
        [f"{category[:3].upper()}-{rung:02d}" for rung in range(1, _LADDER + 1)]
        for category in _RANGE
    ]
)
PRODUCT_BRANDS = BRANDS[
    (np.arange(len(_RANGE))[:, None] * 3 + np.arange(_LADDER)[None, :] * 7) % len(BRANDS)
]

_RETAIL_QUANTITIES = np.array([1, 1, 1, 1, 1, 2, 2, 3])
_CARTONS = np.array([6, 12, 12, 24, 24, 36, 48, 60])
_MOST_LINES = 6


@dataclass(frozen=True, slots=True, eq=False)
class Baskets:
    """Lines of orders, by order. `order` indexes the orders; prices are rupiah."""

    order: Ints
    line: Ints
    category: Ints
    rung: Ints
    quantity: Ints

    @property
    def price(self) -> Floats:
        return PRICES[self.category, self.rung]

    def gross(self, orders: int) -> Floats:
        """The sum of quantity times price for each of `orders` orders."""
        worth = self.quantity * self.price
        return np.bincount(self.order, weights=worth, minlength=orders).astype(np.float64)

    def units(self, orders: int) -> Ints:
        """The number of pieces in each of `orders` orders."""
        return np.bincount(self.order, weights=self.quantity, minlength=orders).astype(np.int64)

    def product_columns(self) -> dict[str, Column]:
        """What was bought, line by line."""
        return {
            "product_id": PRODUCT_IDS[self.category, self.rung],
            "product_name": NAMES[self.category, self.rung],
            "category": CATEGORIES[self.category],
            "brand": PRODUCT_BRANDS[self.category, self.rung],
        }


def draw_line_counts(rng: np.random.Generator, amounts: Floats, wholesale: Flags) -> Ints:
    """Lines of each order, 1 to 6: dearer orders have more, wholesale at least three."""
    chance = np.clip(0.12 + 0.17 * np.log(np.maximum(amounts, 1.0) / 90_000.0), 0.03, 0.75)
    lines = 1 + rng.binomial(_MOST_LINES - 1, chance)
    return np.where(wholesale, np.clip(lines, 3, _MOST_LINES), lines)


def draw_tastes(rng: np.random.Generator, customers: int) -> Ints:
    """The two favourite categories of each customer."""
    return _CATEGORY_MIX.draw(rng, 2 * customers).astype(np.int64).reshape(customers, 2)


def fill_baskets(
    rng: np.random.Generator, amounts: Floats, lines: Ints, wholesale: Flags, tastes: Ints
) -> Baskets:
    """Products whose prices come near the amount meant for each order.

    `tastes` has one row an order. Three lines in five are of a favourite category.
    """
    order = np.repeat(np.arange(len(lines)), lines)
    size = len(order)
    weight = rng.gamma(2.0, size=size)
    share = weight / np.bincount(order, weights=weight)[order]
    usual = tastes[order, (rng.random(size) < 0.35).astype(np.int64)]
    other = _CATEGORY_MIX.draw(rng, size).astype(np.int64)
    category = np.where(rng.random(size) < 0.6, usual, other)
    pieces = rng.integers(0, 8, size)
    bulk = wholesale[order]
    quantity = np.where(bulk, _CARTONS[pieces], _RETAIL_QUANTITIES[pieces])
    budget = amounts[order] * share
    # The rung whose price is nearest in ratio: count the midpoints the budget has passed.
    midpoints = np.sqrt(PRICES[:, 1:] * PRICES[:, :-1])
    rung = (midpoints[category] <= (budget / quantity)[:, None]).sum(axis=1)
    wanted = np.round(budget / PRICES[category, rung])
    most = np.where(bulk, 480, 4)
    quantity = np.where(bulk, np.maximum(np.round(wanted / 6) * 6, 6), np.clip(wanted, 1, most))
    return Baskets(order, within(lines), category, rung, quantity.astype(np.int64))
