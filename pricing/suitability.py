"""Who may buy a product: eligibility, suitability, needs, and what follows from the covers already bought.

All of it is rules on facts, in one list (`Product.admission`). The recommender decides that list to make its
offers, underwriting decides it in the quote, so that whoever is offered a product is not declined for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, model_validator

from pricing.errors import NeedsError, RiskProblem, nearest
from pricing.factors import Frozen, Name, Text
from pricing.rules import Rule

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from pricing.product import Product
    from pricing.rules import Fact

NEEDS = "needs."
IN_FORCE, SINCE, SCENE = "cover.held", "cover.days_since_last", "sale.scene"
HELD, WAITING, NOT_IN_SCENE = "already_held", "waiting_period", "not_in_scene"
UNANSWERED = "needs_unanswered"
ANYWHERE = "none"


class Answer(Frozen):
    """One answer that may be chosen."""

    code: Name
    text: Text


class Need(Frozen):
    """A question on what the customer needs; rules read its answer as `needs.<code>`.

    Attributes
    ----------
    code, text
        Name in requests and rules, and the question.
    type
        `yes_no` (true or false), `choice` (one of the `answers`) or `number` (from `minimum` to `maximum`).
    required
        Whether a person decides where it is not answered; offers then leave the product out.
    """

    code: Name
    text: Text
    type: Literal["yes_no", "choice", "number"]
    answers: tuple[Answer, ...] = ()
    minimum: float | None = None
    maximum: float | None = None
    required: bool = True

    @model_validator(mode="after")
    def _consistent(self) -> Need:
        codes = [answer.code for answer in self.answers]
        if (self.type == "choice") != (len(codes) >= 2) or len(set(codes)) != len(codes):
            raise ValueError(f"need {self.code!r}: a choice, and only it, has two or more different answers")
        bounds = (self.minimum, self.maximum)
        if self.type != "number" and bounds != (None, None):
            raise ValueError(f"need {self.code!r}: minimum and maximum go with type 'number'")
        if self.type == "number" and (None in bounds or not self.minimum < self.maximum):  # type: ignore[operator]
            raise ValueError(f"need {self.code!r}: a number needs minimum below maximum")
        return self

    @property
    def allowed(self) -> str:
        """What may be answered, in words."""
        if self.type == "yes_no":
            return "true or false"
        if self.type == "choice":
            return "one of " + ", ".join(answer.code for answer in self.answers)
        return f"a number from {self.minimum:g} to {self.maximum:g}"

    def read(self, value: object) -> Fact | RiskProblem:
        """Check an answer; null is none."""
        if value is None or (self.type == "yes_no" and isinstance(value, bool)):
            return value
        codes = [answer.code for answer in self.answers]
        if self.type == "choice" and isinstance(value, str):
            return (
                value
                if value in codes
                else RiskProblem(self.code, "level", value, self.allowed, nearest(value, codes))
            )
        if self.type == "number" and isinstance(value, int | float) and not isinstance(value, bool):
            if self.minimum <= value <= self.maximum:  # type: ignore[operator]
                return float(value)
            return RiskProblem(
                self.code,
                "below" if value < self.minimum else "above",  # type: ignore[operator]
                value,
                self.allowed,
            )
        return RiskProblem(self.code, "type", value, self.allowed)


WaitingDays = Annotated[int, Field(ge=1, le=3660)]


def read_needs(products: Iterable[Product], given: Mapping[str, object]) -> dict[str, Fact]:
    """Check answers against the questions of some products; give them as facts, by `needs.<code>`.

    Raises
    ------
    NeedsError
        With one problem per answer: a question that none of the products asks, or an answer that one of them
        does not allow.
    """
    asked = [need for product in products for need in product.needs]
    codes = sorted({need.code for need in asked})
    problems = [
        RiskProblem(name, "unknown", value, "only " + (", ".join(codes) or "none"), nearest(name, codes))
        for name, value in given.items()
        if name not in codes
    ]
    found: dict[str, Fact] = {}
    for need in asked:
        answer = need.read(given.get(need.code))
        if isinstance(answer, RiskProblem):
            problems.append(answer)
        else:
            found[NEEDS + need.code] = answer
    if problems:
        raise NeedsError(list(dict.fromkeys(problems)))
    return found


def cover_facts(
    product: Product, held: Iterable[str], days_since: Mapping[str, int], *, scene: str | None = None
) -> dict[str, Fact]:
    """Give the facts of one product that follow from covers already bought.

    Parameters
    ----------
    product
        On offer.
    held
        Codes of products in force or about to be.
    days_since
        Whole days since the last cover of each product began; below 0 when it is still to begin.
    scene
        `order` or `trip` when asked inside such a purchase.
    """
    return {
        IN_FORCE: product.code in held,
        SINCE: days_since.get(product.code),
        SCENE: scene or ANYWHERE,
    }


def admission_rules(product: Product) -> tuple[Rule, ...]:
    """Give all rules that say who may buy a product, in the order in which reasons are named."""
    required = {NEEDS + need.code for need in product.needs if need.required}
    rules = [_lenient(rule, required) for rule in (*product.eligibility, *product.suitability)]
    rules += [
        Rule(
            code=UNANSWERED,
            field=NEEDS + need.code,
            op="not_in",
            value=(),
            effect="refer",
            message=Text(en=f"Please answer: {need.text.en}", zh=f"请回答：{need.text.zh}"),
        )
        for need in product.needs
        if need.required
    ]
    if product.offer.one_in_force:
        rules.append(_built_in(HELD, IN_FORCE, "==", value=False))
    if product.offer.waiting_days is not None:
        rules.append(_built_in(WAITING, SINCE, ">=", value=product.offer.waiting_days))
    if product.cover.per != "year":
        rules.append(_built_in(NOT_IN_SCENE, SCENE, "==", value=product.cover.per))
    return tuple(rules)


def underwriting_rules(product: Product) -> tuple[Rule, ...]:
    """Give the underwriting rules; one that reads an unanswered question leaves it to `needs_unanswered`."""
    required = {NEEDS + need.code for need in product.needs if need.required}
    return tuple(_lenient(rule, required) for rule in product.underwriting)


def need_problems(product: Product) -> list[str]:
    """Say what needs and the rules that read them contradict, one sentence a fault."""
    codes = [need.code for need in product.needs]
    found = [f"needs repeat {code!r}" for code in sorted({code for code in codes if codes.count(code) > 1})]
    for rule in (*product.eligibility, *product.suitability, *product.underwriting):
        name = rule.field.removeprefix(NEEDS)
        if rule.field.startswith(NEEDS) and name not in codes:
            found.append(f"rule {rule.code!r} reads {rule.field!r}, which is no question; {_asked(codes)}")
    own = {HELD, WAITING, NOT_IN_SCENE, UNANSWERED}
    taken = sorted({rule.code for rule in (*product.eligibility, *product.suitability)} & own)
    if taken:
        found.append(f"the codes {taken} are those of built-in rules")
    return found


def _asked(codes: list[str]) -> str:
    return "allowed: " + (", ".join(codes) or "none, the file has no [[needs]]")


def _lenient(rule: Rule, required: set[str]) -> Rule:
    return rule.model_copy(update={"when_unknown": "pass"}) if rule.field in required else rule


def _built_in(code: str, field: str, op: Literal["==", ">="], *, value: float | bool | str) -> Rule:
    return Rule(code=code, field=field, op=op, value=value, when_unknown="pass", message=MESSAGES[code])


MESSAGES = {
    HELD: Text(
        en="A cover of this product is in force; at its renewal, give the expiring premium.",
        zh="该产品的保单仍然有效；续保时请提供到期保单的保费。",
    ),
    WAITING: Text(
        en="The last cover of this product began too short a time ago to buy another.",
        zh="距该产品上一份保单生效时间过短，暂不能再次投保。",
    ),
    NOT_IN_SCENE: Text(
        en="This cover is sold only with the purchase that it insures.",
        zh="该保险仅在对应的购买场景中提供。",
    ),
}
