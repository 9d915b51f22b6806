"""Run benchmarks, print their figures beside the targets and keep them in results.json."""

from __future__ import annotations

import importlib
import json
import sys
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

RESULTS = Path(__file__).parent / "results.json"
NAMES = (
    "simulate",
    "accuracy",
    "comparison",
    "belgian",
    "severity",
    "tables",
    "serving_models",
    "distil",
    "diagnostics",
    "glm",
    "returns",
    "features",
    "evaluator",
    "events",
    "group_commit",
    "credibility",
    "experience",
    "incremental",
    "ladder",
    "optimiser",
    "price_tests",
    "recovery",
    "recommend_insurance",
    "recommend_grocery",
    "recommend_truth",
    "recommend_batch",
    "serving",
    "serving_soak",
)
# figure -> (at most | at least, value)
TARGETS: dict[str, dict[str, tuple[str, float]]] = {
    "simulate": {"seconds": ("at most", 60.0), "peak_gb": ("at most", 1.0)},
    "accuracy": {
        "glm": ("at most", 24.10),
        "gbm": ("at most", 23.56),
        "ga2m": ("at most", 23.52),
        "ensemble": ("at most", 23.50),
    },
    # What the tutorial of glum prints.
    "severity": {
        "frequency_ga2m": ("at most", 0.45793),
        "severity_ga2m": ("at most", 1.2976),
        "pure_premium_ga2m": ("at most", 72.353),
    },
    "glm": {"vs_glum": ("at most", 1.2), "max_abs_diff": ("at most", 1e-9)},
    "tables": {
        "speedup_vs_predict": ("at least", 100.0),
        "speedup_with_reasons": ("at least", 30.0),
        "max_abs_diff": ("at most", 1e-12),
        "one_row_us": ("at most", 20.0),
    },
    "diagnostics": {"slowest": ("at most", 10.0), "peak_gb": ("at most", 3.0)},
    "comparison": {"seconds": ("at most", 600.0), "peak_gb": ("at most", 4.0)},
    "returns": {"logloss_gain": ("at least", 0.0), "auc_gain": ("at least", 0.0)},
    "credibility": {
        "seconds_17m_orders": ("at most", 10.0),
        "ae_low": ("at least", 0.92),
        "ae_high": ("at most", 1.08),
        "logloss_gain": ("at least", 0.004),
    },
    "experience": {
        "posteriors_1m_ms": ("at most", 50.0),
        "seconds_17m_orders": ("at most", 10.0),
        "ae_low": ("at least", 0.92),
        "ae_high": ("at most", 1.08),
        "frailty_error": ("at most", 0.10),
        "phone_screen_experience_gain": ("at least", 0.0),
    },
    "features": {
        "vs_hand_sql": ("at most", 1.10),
        "peak_gb": ("at most", 4.5),
        "growth": ("at most", 10.0),
    },
    "evaluator": {"p50_us": ("at most", 25.0), "store_p99_us": ("at most", 100.0)},
    "ladder": {
        "one_us": ("at most", 15.0),
        "batch_s": ("at most", 3.0),
        "differences": ("at most", 0.0),
    },
    "optimiser": {
        "one_s": ("at most", 2.0),
        "seg_s": ("at most", 15.0),
        "peak_gb": ("at most", 0.7),
        "gap": ("at most", 1e-7),
        "violations": ("at most", 0.0),
        "large_s": ("at most", 40.0),
        "highs_ratio": ("at least", 16.0),
        "cvxpy_ratio": ("at least", 24.0),
    },
    "price_tests": {
        "beta_regret": ("at most", 2.1),
        "logistic_regret": ("at most", 1.06),
        "false_alarms_5": ("at most", 0.05),
        "false_alarms_40": ("at most", 0.05),
    },
    "recovery": {"elasticity_error": ("at most", 0.05), "confounded_refused": ("at least", 1.0)},
    "recommend_insurance": {"gain_low": ("at least", 0.0)},
    "recommend_truth": {"share": ("at least", 0.80), "ece": ("at most", 0.006)},
    "recommend_batch": {
        "seconds": ("at most", 20.0),
        "peak_gb": ("at most", 2.0),
        "differing": ("at most", 0.0),
        "p99_ms": ("at most", 5.0),
    },
    "recommend_grocery": {"ndcg10": ("at least", 0.240), "ndcg10_popularity": ("at least", 0.225)},
    "serving": {
        "vs_bare": ("at least", 0.6),
        "vs_mlflow": ("at least", 20.0),
        "vs_bentoml": ("at least", 3.0),
        "p50_ms_c1": ("at most", 1.5),
        "p99_ms_c1": ("at most", 4.0),
        "p99_ms_c16": ("at most", 25.0),
    },
    "serving_soak": {
        "minutes": ("at least", 30.0),
        "errors": ("at most", 0.0),
        "swap_added_ms": ("at most", 50.0),
    },
    "incremental": {"vs_full": ("at most", 0.10), "equal": ("at least", 1.0)},
}


def main(chosen: list[str]) -> int:
    """Run the chosen benchmarks (all when none is named)."""
    console = Console()
    unknown = sorted(set(chosen) - set(NAMES))
    if unknown:
        console.print(f"unknown benchmark {', '.join(unknown)}; there are {', '.join(NAMES)}")
        return 2
    missed = False
    for name in chosen or NAMES:
        start = time.perf_counter()
        with console.status(f"{name} ..."):
            figures: dict[str, float] = importlib.import_module(f"benchmarks.{name}").run()
        # Read now: another run may have written its own figures meanwhile.
        results = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
        results[name] = figures
        RESULTS.write_text(json.dumps(results, indent=2, sort_keys=True) + "\n", encoding="utf-8")
        missed |= _show(console, name, figures, time.perf_counter() - start)
    return int(missed)


def _show(console: Console, name: str, figures: dict[str, float], seconds: float) -> bool:
    table = Table(title=f"{name} ({seconds:.0f} s)")
    for heading in ("figure", "value", "target", "met"):
        table.add_column(heading, justify="left" if heading == "figure" else "right")
    missed = False
    for figure, value in figures.items():
        kind, bound = TARGETS.get(name, {}).get(figure, ("", 0.0))
        met = (value <= bound) if kind == "at most" else (value >= bound)
        missed |= bool(kind) and not met
        table.add_row(
            figure,
            f"{value:,.4f}" if value >= 1e-4 or not value else f"{value:.2e}",
            f"{kind} {bound:g}" if kind else "",
            ("yes" if met else "NO") if kind else "",
        )
    console.print(table)
    return missed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
