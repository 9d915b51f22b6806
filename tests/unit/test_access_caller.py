"""What a caller may do."""

from __future__ import annotations

import pytest

from serving.access.caller import OPEN, SCOPES, Caller
from serving.errors import NotAllowedError

SHOP = Caller(
    "k1", "shop", "platform", frozenset({"quotes:read"}), frozenset({"app"}), frozenset({"return_freight"})
)


def test_the_open_mode_may_everything():
    OPEN.need(SCOPES)
    OPEN.need_licence("compare")
    OPEN.need_sale("anything", "anywhere", None)
    assert OPEN.owns("anywhere", None)
    assert OPEN.sells("anything")


@pytest.mark.parametrize(
    ("product", "channel", "sub_channel", "code", "pointer"),
    [
        ("return_freight", "direct", "app", "channel", "/channel"),
        ("return_freight", "platform", "web", "sub-channel", "/sub_channel"),
        ("return_freight", "platform", None, "sub-channel", "/sub_channel"),
        ("motor", "platform", "app", "product", "/product"),
    ],
)
def test_a_caller_sells_its_products_through_its_channel(product, channel, sub_channel, code, pointer):
    SHOP.need_sale("return_freight", "platform", "app")
    with pytest.raises(NotAllowedError) as refused:
        SHOP.need_sale(product, channel, sub_channel)
    assert (refused.value.code, refused.value.pointer) == (code, pointer)


def test_a_caller_owns_the_quotes_of_its_channel_and_sub_channels():
    assert SHOP.owns("platform", "app")
    assert not SHOP.owns("platform", "web")
    assert not SHOP.owns("platform", None)
    assert not SHOP.owns("direct", "app")


def test_a_missing_scope_or_licence_is_named():
    with pytest.raises(NotAllowedError, match="'quotes:write'"):
        SHOP.need(["quotes:read", "quotes:write"])
    with pytest.raises(NotAllowedError, match="licence may compare"):
        SHOP.need_licence("compare")
