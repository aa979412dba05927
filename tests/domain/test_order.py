"""Which orders count, and what they add."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.order import COUNTED_STATUSES, OrderStatus, is_counted, net_amount


@pytest.mark.parametrize(
    ("status", "total", "refund", "counts", "net"),
    [
        ("completed", 100, 0, True, 100),
        ("accepted", 100, 0, True, 100),
        ("completed", 100, 40, True, 60),
        ("completed", 100, 100, False, 0),
        ("completed", 0, 0, True, 0),
        ("pending", 100, 0, False, 0),
        ("cancelled", 100, 0, False, 0),
        ("no_show", 100, 0, False, 0),
        ("refunded", 100, 100, False, 0),
        ("refunded", 100, 40, False, 0),
        ("refunded", -100, 0, False, -100),
    ],
)
def test_counted_and_net(status: str, total: int, refund: int, counts: bool, net: int) -> None:
    assert is_counted(OrderStatus(status), total, refund) is counts
    assert net_amount(OrderStatus(status), total, refund) == net


@given(st.sampled_from(list(OrderStatus)), st.integers(0, 10**9), st.data())
def test_only_a_sale_adds_and_never_more_than_its_total(
    status: OrderStatus, total: int, data: st.DataObject
) -> None:
    refund = data.draw(st.integers(0, total))
    assert 0 <= net_amount(status, total, refund) <= total
    if status not in COUNTED_STATUSES:
        assert not is_counted(status, total, refund)
        assert net_amount(status, total, refund) == 0
