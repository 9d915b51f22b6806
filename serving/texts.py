"""What customers and salespeople read, in English and Chinese."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from pricing.factors import Text

if TYPE_CHECKING:
    from features.derive import Value
    from pricing.experience import Experience, OwnHistory
    from pricing.ladder import StepName

STEP_LABELS: dict[StepName, Text] = {
    "risk_premium": Text(en="Risk premium", zh="风险保费"),
    "experience": Text(en="Own claims", zh="自身赔付经验"),
    "relativities": Text(en="Rating factors of the plan", zh="费率因子"),
    "claims_inflation": Text(en="Claims inflation", zh="赔付通胀"),
    "reinsurance": Text(en="Reinsurance", zh="再保险成本"),
    "fixed_expense": Text(en="Fixed expense", zh="固定费用"),
    "variable_expense": Text(en="Variable expense", zh="变动费用"),
    "commission": Text(en="Commission", zh="渠道佣金"),
    "margin": Text(en="Margin", zh="预定利润"),
    "minimum_premium": Text(en="Up to the minimum premium", zh="补足最低保费"),
    "price_policy": Text(en="Price policy", zh="定价策略"),
    "price_test": Text(en="Price test", zh="价格测试"),
    "bundle": Text(en="Bundle discount", zh="组合投保优惠"),
    "renewal_cap": Text(en="Change at renewal held to the cap", zh="续保调价上下限"),
    "cover_cap": Text(en="Held to the share of the cover amount", zh="保费占保额上限"),
    "maximum_premium": Text(en="Down to the maximum premium", zh="降至最高保费"),
    "tax": Text(en="Tax", zh="税费"),
    "rounding": Text(en="Rounding", zh="取整"),
}

# Steps that a plan does not have: what a person changed, and what is shown to who may not see the commission.
REVIEW_STEP = Text(en="Decided by a person", zh="人工核定")
LOADINGS_STEP = Text(en="Expenses, commission and margin", zh="费用、佣金与利润")
NEUTRAL_NOTICE = Text(
    en="Shown in the order in which they were asked for. Covers differ: compare them field by field.",
    zh="按请求顺序展示，未按价格排序。各产品保障不同，请逐项比较。",
)

REFERRAL_TEXTS: dict[str, Text] = {
    "price_outside_corridor": Text(
        en="The price lies outside what is filed; a person decides.", zh="价格超出备案区间，需人工审核。"
    ),
    "limits_contradict": Text(
        en="Minimum premium, caps and change at renewal leave no price; a person decides.",
        zh="最低保费、上限与续保调价限制相互矛盾，需人工审核。",
    ),
    "price_below_expenses": Text(
        en="Tax, commission and expenses would take the whole price; a person decides.",
        zh="价格不足以覆盖税费、佣金与费用，需人工审核。",
    ),
    "risk_premium_unusable": Text(
        en="The model gives no usable risk premium; a person decides.",
        zh="模型未给出可用的风险保费，需人工审核。",
    ),
}


def cap_text(name: StepName, before_minor: int, after_minor: int) -> Text:
    """Say in a sentence what a cap that binds does to the premium; both before tax, minor units."""
    change = abs(after_minor - before_minor) / max(before_minor, 1) * 100
    label = STEP_LABELS[name]
    up = after_minor > before_minor
    return Text(
        en=f"{label.en}: {'raises' if up else 'lowers'} the premium by {change:.1f} %",
        zh=f"{label.zh}：保费{'上升' if up else '下降'}{change:.1f}%",
    )


def own_text(experience: Experience, own: OwnHistory, decimals: int, relativity: float) -> Text:
    """Say what own history does to the premium.

    Parameters
    ----------
    experience, own
        What is filed, and what counted.
    decimals
        Of the currency, where history is weighed by cost.
    relativity
        Factor on the risk premium.
    """
    en, zh = {
        ("claims", "customer"): ("own claims", "本人出险"),
        ("claims", "seller"): ("claims of the shop", "店铺出险"),
        ("returns", "customer"): ("own returns", "本人退货"),
        ("returns", "seller"): ("returns of the shop", "店铺退货"),
    }[experience.counts, experience.unit]
    scale = 1.0
    if experience.method == "buhlmann_straub":
        en, zh, scale = f"cost of {en}", f"{zh}赔款", 10.0**decimals
    seen, wanted = f"{own.claims / scale:.3g}", f"{own.expected / scale:.3g}"
    return Text(
        en=f"{en} {seen} where {wanted} expected, credibility {own.credibility:.2f}: x {relativity:.2f}",
        zh=f"{zh}{seen}（预期{wanted}），可信度{own.credibility:.2f}：×{relativity:.2f}",
    )


def class_text(place: int, relativity: float) -> Text:
    """Say what the class of a bonus-malus scale does to the premium."""
    return Text(en=f"bonus-malus class {place}: x {relativity:.2f}", zh=f"奖惩等级{place}：×{relativity:.2f}")


def reason_text(label: Text, value: Value | str, unit: str, relativity: float) -> Text:
    """Say in a sentence what one input does to the risk premium.

    Parameters
    ----------
    label
        Name of the input.
    value
        Its value; None or NaN when there is no history.
    unit
        Unit of the value.
    relativity
        Factor on the risk premium (on the odds, for events), 1 when neutral.
    """
    change = round(abs(relativity - 1.0) * 100)
    up = relativity >= 1.0
    shown, shown_zh = _shown(value, unit)
    if change == 0:
        return Text(en=f"{label.en} ({shown}): no effect", zh=f"{label.zh}（{shown_zh}）：无影响")
    return Text(
        en=f"{label.en} ({shown}): {'raises' if up else 'lowers'} the risk by {change} %",
        zh=f"{label.zh}（{shown_zh}）：风险{'上升' if up else '下降'}{change}%",
    )


def table_text(label: Text, value: Value | str, unit: str, relativity: float) -> Text:
    """Say what a table of the rating plan makes of a rating factor."""
    shown, shown_zh = _shown(value, unit)
    return Text(
        en=f"{label.en} ({shown}), rating plan: x {relativity:.3g}",
        zh=f"{label.zh}（{shown_zh}），费率表：×{relativity:.3g}",
    )


def _shown(value: Value | str, unit: str) -> tuple[str, str]:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "no record", "无记录"
    if isinstance(value, str):
        return value, value
    number = f"{value:.4g}" if isinstance(value, float) and not value.is_integer() else f"{int(value)}"
    return number if unit in {"", "1"} else f"{number} {unit}", number


# What a customer must be told of an automated recommendation, and of the way out of it.
PERSONAL_NOTICE = Text(
    en="Ranked automatically from your profile. You may switch personal recommendations off.",
    zh="本推荐由算法根据您的画像自动生成，您可随时关闭个性化推荐。",
)
GENERAL_NOTICE = Text(
    en="Not based on your profile: what customers who may buy it buy most.",
    zh="本推荐未使用您的画像，按符合条件客户的购买情况排序。",
)
