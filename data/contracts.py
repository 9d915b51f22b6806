"""What the five tables of the lake are: columns, keys, checks, partitions, and who may see what."""

from __future__ import annotations

import datetime as dt
from types import MappingProxyType
from typing import TYPE_CHECKING

import pyarrow as pa

from data.errors import UnknownTableError, hint
from data.schema import Check, Column, Contract, Partition, Reference, Visibility

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "CONTRACTS",
    "CONTRACT_VERSION",
    "Check",
    "Column",
    "Contract",
    "Partition",
    "Reference",
    "Visibility",
    "contract",
    "contracts_markdown",
]

CONTRACT_VERSION = "1"

_ID = pa.int64()
_MONEY = pa.int64()
_TIME = pa.timestamp("us")
_TEXT = pa.string()


def _key(name: str, meaning: str) -> Column:
    return Column(name, _ID, meaning, "id", minimum=0)


def _ref(name: str, meaning: str, *, nullable: bool = False) -> Column:
    return Column(name, _ID, meaning, "id", nullable, minimum=0)


def _money(name: str, meaning: str, *, nullable: bool = False) -> Column:
    return Column(name, _MONEY, meaning, "minor units", nullable, minimum=0)


def _time(name: str, meaning: str, *, nullable: bool = False) -> Column:
    return Column(name, _TIME, meaning, "UTC", nullable)


def _event(name: str, meaning: str, *, nullable: bool = False) -> Column:
    return Column(name, _TIME, meaning, "UTC", nullable, past=True)


_CHANNELS = ("direct", "platform", "agent")
_PRODUCT = Column("product", _TEXT, "Code of the product file", visibility="public")
_CHANNEL = Column("channel", _TEXT, "Who sold it", visibility="public", levels=_CHANNELS)
_SELLER = _ref(
    "seller_id", "Shop the order was placed with, for products that hang on an order", nullable=True
)
_ORDER = _ref("order_id", "Order covered, for products sold per order", nullable=True)
_TO_CUSTOMER = Reference("customer_id", "customers", "customer_id")
_TO_ORDER = Reference("order_id", "orders", "order_id")

CUSTOMERS = Contract(
    "customers",
    "One row per buyer, as known today.",
    "customer_id",
    "registered_at",
    (
        _key("customer_id", "Buyer"),
        Column(
            "birth_date",
            pa.date32(),
            "Date of birth",
            nullable=True,
            visibility="personal",
            minimum=dt.date(1901, 1, 1),
        ),
        Column(
            "gender",
            _TEXT,
            "Female, male or undisclosed; never a rating factor",
            nullable=True,
            visibility="protected",
            levels=("F", "M", "U"),
        ),
        Column("region", _TEXT, "Region code of residence", nullable=True, visibility="personal"),
        Column(
            "city_tier",
            pa.int8(),
            "Tier of the city, 1 the largest",
            nullable=True,
            visibility="personal",
            minimum=1,
            maximum=5,
        ),
        _event("registered_at", "When the account was opened"),
        _ref("owned_seller_id", "Shop that this customer owns", nullable=True),
    ),
    checks=(Check("birth_date before registered_at", "birth_date <= CAST(registered_at AS DATE)"),),
)

ORDERS = Contract(
    "orders",
    "One row per order line.",
    "order_id",
    "ordered_at",
    (
        _key("order_id", "Order"),
        _ref("customer_id", "Buyer"),
        _ref("seller_id", "Shop"),
        Column("category", _TEXT, "Kind of goods"),
        _event("ordered_at", "When the order was placed"),
        _money("amount_minor", "Price of the goods"),
        _money("freight_minor", "What sending it back would cost", nullable=True),
        _event("delivered_at", "When the parcel arrived, null while under way", nullable=True),
        _event("returned_at", "When the return became known, null when kept or not yet known", nullable=True),
    ),
    Partition(month_of="ordered_at"),
    checks=(
        Check("delivered_at >= ordered_at", "delivered_at >= ordered_at"),
        Check("returned_at >= ordered_at", "returned_at >= ordered_at"),
        Check("returned_at >= delivered_at", "returned_at >= delivered_at"),
    ),
    references=(_TO_CUSTOMER,),
)

POLICIES = Contract(
    "policies",
    "One row per policy sold, with the product's own rating factors beside the columns.",
    "policy_id",
    "quoted_at",
    (
        _key("policy_id", "Policy"),
        _PRODUCT,
        _ref("customer_id", "Policyholder"),
        _SELLER,
        _ORDER,
        _event("quoted_at", "When the price was given; profiles are taken strictly before it"),
        _time("inception_at", "Start of cover"),
        _time("expiry_at", "End of cover"),
        _money("premium_minor", "Premium charged for the whole term"),
        _CHANNEL,
        _ref("renewal_of", "Policy that this one renews", nullable=True),
    ),
    Partition(by_product=True, month_of="quoted_at", month_key="quoted_month"),
    checks=(
        Check("inception_at >= quoted_at", "inception_at >= quoted_at"),
        Check("expiry_at > inception_at", "expiry_at > inception_at"),
    ),
    references=(_TO_CUSTOMER, _TO_ORDER, Reference("renewal_of", "policies", "policy_id")),
    open=True,
)

CLAIMS = Contract(
    "claims",
    "One row per claim reported.",
    "claim_id",
    "reported_at",
    (
        _key("claim_id", "Claim"),
        _ref("policy_id", "Policy that pays"),
        _PRODUCT,
        _ref("customer_id", "Policyholder"),
        _SELLER,
        _ORDER,
        _event("occurred_at", "When the loss happened"),
        _event("reported_at", "When the insurer came to know it; nothing earlier may use it"),
        _money("paid_minor", "Amount paid"),
    ),
    Partition(by_product=True, month_of="reported_at"),
    checks=(Check("reported_at >= occurred_at", "reported_at >= occurred_at"),),
    references=(_TO_CUSTOMER, _TO_ORDER, Reference("policy_id", "policies", "policy_id")),
)

QUOTES = Contract(
    "quotes",
    "One row per price shown, accepted or not, with the product's own rating factors beside the columns.",
    "quote_id",
    "quoted_at",
    (
        _key("quote_id", "Quote"),
        _PRODUCT,
        _ref("customer_id", "Customer asked"),
        _SELLER,
        _ORDER,
        _event("quoted_at", "When the price was given"),
        _CHANNEL,
        Column("experiment", _TEXT, "Price test that the quote took part in", nullable=True),
        Column("cell", pa.int8(), "Cell of the price test", nullable=True, minimum=0),
        Column(
            "price_multiplier",
            pa.float64(),
            "Price over the price without the test",
            "ratio",
            nullable=True,
            minimum=0.0,
        ),
        _money("technical_minor", "Price that the test multiplies"),
        _money("price_minor", "Price shown"),
        Column("accepted", pa.bool_(), "Whether the customer bought"),
        _ref("policy_id", "Policy that came of it", nullable=True),
    ),
    Partition(by_product=True, month_of="quoted_at", month_key="quoted_month"),
    checks=(
        Check("policy_id only when accepted", "accepted OR policy_id IS NULL"),
        Check("experiment and cell together", "(experiment IS NULL) = (cell IS NULL)"),
    ),
    references=(_TO_CUSTOMER, _TO_ORDER, Reference("policy_id", "policies", "policy_id")),
    open=True,
)

CONTRACTS: Mapping[str, Contract] = MappingProxyType(
    {c.name: c for c in (CUSTOMERS, ORDERS, POLICIES, CLAIMS, QUOTES)}
)


def contract(name: str) -> Contract:
    """Find a contract by the name of its table.

    Raises
    ------
    UnknownTableError
        If no contract has this name.
    """
    if name not in CONTRACTS:
        message = f"There is no table {name!r}{hint(name, CONTRACTS)}"
        raise UnknownTableError(message)
    return CONTRACTS[name]


def contracts_markdown() -> str:
    """Print every contract as one Markdown page.

    Returns
    -------
    str
        The text of ``docs/tables.md``.
    """
    head = [
        "# Tables",
        "",
        "Written from `data/contracts.py` by `data.contracts.contracts_markdown()`; a test holds it current.",
        "Money is in integer minor units, times are naive UTC with microseconds, ids are 64-bit integers.",
        "Visibility: public, internal (staff), personal (staff with a reason to know the person),",
        "protected (never used for pricing, kept to test models for unfair treatment).",
    ]
    return "\n".join([*head, *(line for c in CONTRACTS.values() for line in _section(c))]) + "\n"


def _section(table: Contract) -> list[str]:
    folders = "/".join(f"{key}=..." for key in table.partition.keys) or "none"
    of = f" (month of `{table.partition.month_of}`)" if table.partition.month_of else ""
    lines = [
        "",
        f"## {table.name}",
        "",
        f"{table.meaning} Key: `{table.key}`. Partition folders: `{folders}`{of}.",
        "",
        "| column | type | unit | null | allowed | visibility | meaning |",
        "|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {c.name} | {c.type} | {c.unit} | {'yes' if c.nullable else 'no'} | {c.allowed} "
        f"| {c.visibility} | {c.meaning} |"
        for c in table.columns
    ]
    if table.checks:
        lines += ["", "Each row: " + "; ".join(f"`{check.name}`" for check in table.checks) + "."]
    if table.references:
        targets = (f"`{r.column}` to `{r.table}.{r.target}`" for r in table.references)
        lines += ["", "References: " + ", ".join(targets) + "."]
    if table.open:
        lines += ["", "The rating factors of the row's product stand in further columns of the same names."]
    return lines
