"""One-file HTML pages for people: the style they share, and how they are written. Nothing is fetched."""

from __future__ import annotations

from typing import TYPE_CHECKING

from data.manifest import write_text_atomic

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["html_page", "write_page"]

_STYLE = """
:root { color-scheme: light; }
body { font: 15px/1.5 system-ui, "Noto Sans CJK SC", "PingFang SC", "Microsoft YaHei", sans-serif;
       color: #1d2733; margin: 0 auto; max-width: 1120px; padding: 24px; background: #fff; }
h1 { font-size: 24px; margin: 0; } h2 { font-size: 20px; margin: 40px 0 4px; border-top: 2px solid #1d2733;
padding-top: 16px; } h3 { font-size: 15px; margin: 20px 0 4px; }
p { margin: 4px 0 8px; max-width: 75ch; } .dim { color: #5b6875; }
table { border-collapse: collapse; width: 100%; margin: 8px 0; }
th, td { text-align: left; padding: 5px 10px 5px 0; border-bottom: 1px solid #dde3e8; vertical-align: top; }
th { color: #5b6875; font-weight: 600; } .n { text-align: right; font-variant-numeric: tabular-nums; }
.w { white-space: nowrap; }
.badge { display: inline-block; padding: 0 8px; border-radius: 3px; white-space: nowrap; font-size: 13px;
font-weight: 600; }
.badge.pass { background: #dcefe3; color: #14532d; } .badge.warn { background: #fdecc8; color: #713f12; }
.badge.fail { background: #fbd9d6; color: #7f1d1d; } .badge.unknown { background: #e6eaee; color: #3c4854; }
.pictures { display: grid; grid-template-columns: repeat(auto-fit, minmax(500px, 1fr)); gap: 4px 28px; }
figure { margin: 0; } svg, figure img { max-width: 100%; height: auto; display: block; }
@media (max-width: 640px) { .pictures { grid-template-columns: 1fr; } }
"""


def html_page(title: str, body: str, style: str = "") -> str:
    """Give a whole page.

    Parameters
    ----------
    title : str
        Its title, escaped.
    body : str
        HTML of the body.
    style : str
        CSS in addition to what all pages share.
    """
    return (
        f'<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>{_STYLE}{style}</style></head><body>{body}</body></html>\n"
    )


def write_page(page: str, out: Path) -> None:
    """Write a page; an older one is replaced in one step.

    Parameters
    ----------
    page : str
        HTML.
    out : Path
        File; its folder is made when absent.
    """
    write_text_atomic(page, out)
