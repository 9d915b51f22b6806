import datetime as dt
import re
from html.parser import HTMLParser

import pytest

from data.column_map import ColumnMap
from data.ingest import ingest
from data.quality import Thresholds
from data.quality_report import assess_table, write_quality_report
from data.simulate import simulate

NIGHT = dt.timedelta(days=1)
START = dt.datetime(2026, 3, 1)
MAP = {
    "table": {"name": "orders"},
    "columns": {
        "order_id": "id",
        "customer_id": "who",
        "seller_id": "shop",
        "category": "kind",
        "ordered_at": "day",
        "amount_minor": "price",
        "freight_minor": "freight",
    },
}
NASTY = "<script>alert('x')</script>"


class Page(HTMLParser):
    """Collect what a page holds and whether its tags close."""

    def __init__(self):
        super().__init__()
        self.open, self.counts, self.text, self.links = [], {}, [], []

    def handle_starttag(self, tag, attrs):
        self.counts[tag] = self.counts.get(tag, 0) + 1
        self.links += [value for name, value in attrs if name in ("src", "href", "action", "data")]
        if tag not in ("meta",) and not self.get_starttag_text().endswith("/>"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        if not self.get_starttag_text() or self.open:
            assert self.open.pop() == tag

    def handle_startendtag(self, tag, attrs):
        self.counts[tag] = self.counts.get(tag, 0) + 1

    def handle_data(self, data):
        self.text.append(data)


def ingest_days(root, folder, days, last):
    folder.mkdir(exist_ok=True)
    for day in range(days + 1):
        at = START + day * NIGHT
        lines = last if day == days else [f"{{id}},7,3,toys,{at},100,50"] * 40
        lines = [line.format(id=1000 * day + n, at=at) for n, line in enumerate(lines)]
        path = folder / f"day{day}.csv"
        path.write_text("id,who,shop,kind,day,price,freight\n" + "\n".join(lines) + "\n")
        ingest(path, ColumnMap.model_validate(MAP), root, created=at + NIGHT)


def parse(path):
    page = Page()
    page.feed(path.read_text(encoding="utf-8"))
    assert page.open == []
    return page


def test_the_page_shows_the_faults_escapes_the_data_and_fetches_nothing(tmp_path):
    bad = [f"{{id}},7,3,{NASTY},{{at}},100,"] * 9 + [
        "{id},7,3,toys,2031-01-01,100,",
        "{id},7,3,toys,{at},-1,",
    ]
    ingest_days(tmp_path / "lake", tmp_path / "files", 6, bad)
    out = tmp_path / "deep" / "report.html"
    (item,) = write_quality_report(tmp_path / "lake", out, now=START + 7 * NIGHT)
    assert item.verdict == "fail"
    page = parse(out)
    text = " ".join(page.text)
    assert {"script", "img", "link", "iframe"}.isdisjoint(page.counts)
    assert page.links == ["#orders"]
    assert "url(" not in out.read_text(encoding="utf-8")
    assert page.counts["svg"] == 6
    for words in (
        "数据质量报告",
        "缺失率",
        "隔离原因",
        "amount_minor: negative money",
        "ordered_at: in the future",
        NASTY,
        "100.00% missing, median of the last 6 runs 0.00%",
        "11 rows, median of the last 6 runs 40",
    ):
        assert words in text
    # One bar for each day that the table spans and for each run, and one for each reason.
    assert len(re.findall(r'<rect class="bar"', out.read_text(encoding="utf-8"))) == 7 + 7 + 1
    assert not [path for path in out.parent.iterdir() if path != out]


def test_limits_of_the_caller_are_used(tmp_path):
    ingest_days(tmp_path / "lake", tmp_path / "files", 2, ["{id},7,3,toys,{at},100,50"] * 40)
    usual = assess_table(tmp_path / "lake", "orders", Thresholds())
    assert usual.verdict == "insufficient history"
    assert assess_table(tmp_path / "lake", "orders", Thresholds(least_runs=2)).verdict == "pass"
    strict = Thresholds(least_runs=2, stale_warn_days=0.5)
    assert assess_table(tmp_path / "lake", "orders", strict).verdict == "warn"


@pytest.mark.slow
def test_a_lake_without_runs_and_no_lake_at_all_have_a_page(tmp_path):
    simulate(tmp_path / "lake", 200, seed=1, orders_per_customer=2)
    out = tmp_path / "report.html"
    found = write_quality_report(tmp_path / "lake", out, now=START)
    assert [item.table for item in found] == ["customers", "orders", "policies", "claims", "quotes"]
    assert parse(out).counts["svg"] == 10
    assert "no run to judge" in out.read_text(encoding="utf-8")
    assert write_quality_report(tmp_path / "none", out, now=START) == ()
    assert "The lake holds no table" in " ".join(parse(out).text)
