"""What a supervisor and a second actuary ask of a model: card, fairness audit, filing pack."""

from models.governance.audit import AttributeAudit, audit_fairness
from models.governance.card import ModelCard, model_card
from models.governance.discrimination_free import DiscriminationFree, discrimination_free
from models.governance.filing import Evidence, filing_pack
from models.governance.price_gap import PriceGap, price_gap
from models.governance.proxies import ProxyTest, proxy_test

__all__ = [
    "AttributeAudit",
    "DiscriminationFree",
    "Evidence",
    "ModelCard",
    "PriceGap",
    "ProxyTest",
    "audit_fairness",
    "discrimination_free",
    "filing_pack",
    "model_card",
    "price_gap",
    "proxy_test",
]
