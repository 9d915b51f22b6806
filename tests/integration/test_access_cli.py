"""`premia access`: keys made, shown, rotated, revoked from the terminal."""

from __future__ import annotations

import re

import pytest
from typer.testing import CliRunner

from serving.access.credentials import read_key
from serving.access.denials import Denial, Denials, write_denials
from serving.access.keys import read_keys
from serving.cli import app
from serving.clock import wall_clock
from serving.records.keys import open_vault
from serving.records.store import open_database
from serving.settings import Settings


@pytest.fixture
def run(tmp_path):
    def call(*words: str, status: int = 0) -> str:
        found = CliRunner().invoke(app, ["access", *words, "--lake", str(tmp_path)])
        assert found.exit_code == status, found.output
        return found.output

    return call


@pytest.fixture
def database(tmp_path):
    opened = open_database(Settings(lake=tmp_path), open_vault(Settings(lake=tmp_path)))
    yield opened
    opened.close_now()


def test_the_life_of_a_key(run, database):
    key = read_key(run("create", "Shop [red]", "--channel", "platform", "--licence", "L-1", "--bare").strip())
    assert key is not None
    shown = run("show", key.key_id)
    for text in ("Shop [red]", "platform", "quotes:write", "L-1", "good", "number 1"):
        assert text in shown, text
    assert key.key_id in run("list")
    assert key.secret not in shown + run("list")
    fresh = read_key(run("rotate", key.key_id, "--bare").strip())
    assert fresh.key_id == key.key_id
    assert fresh.secret != key.secret
    assert "number 2" in run("show", key.key_id)
    assert "is revoked" in run("revoke", key.key_id, "--by", "Zhou")
    assert "revoked" in run("list")
    assert "by Zhou" in run("show", key.key_id)
    assert "was revoked on" in run("revoke", key.key_id, status=1)
    assert "is revoked. Hint" in run("rotate", key.key_id, status=1)
    (stored,) = database.read_now(read_keys)
    assert stored.revoked_by == "Zhou"


def test_a_key_for_trial_says_so(run):
    output = run("create", "try", "--channel", "direct", "--sandbox")
    assert re.search(r"premia_test_[0-9a-f]{12}_[0-9a-f]{64}\n", output)
    assert "(trial)" in run("list")


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("x",), "--channel or --all-channels"),
        (("x", "--channel", "direct", "--all-channels"), "--channel or --all-channels"),
        (("x", "--channel", "platfrom"), "no channel 'platfrom'"),
        (("x", "--channel", "direct", "--product", "moto"), "no product 'moto'"),
        (("x", "--channel", "direct", "--scope", "quote:read"), "no scope 'quote:read'"),
        (("x", "--channel", "direct", "--sub-channel", "nowhere"), "no sub-channel 'nowhere'"),
        (("", "--channel", "direct"), "is no name"),
        (("a\x1b[31m", "--channel", "direct"), "is no name"),
    ],
)
def test_a_faulty_key_is_not_made(run, database, words, why):
    assert why in run("create", *words, status=1)
    assert database.read_now(read_keys) == []


def test_a_key_that_does_not_exist_is_told(run):
    assert "no key has the id 0123456789ab" in run("show", "0123456789ab", status=1)


def test_denials_are_drawn_without_what_steers_a_terminal(run, database):
    denials = Denials()
    denials.note(Denial(401, "unknown", None, "10.0.0.1", "GET", "/\x1b[31m[red]"), "id-1", wall_clock()())
    rows = denials.take(wall_clock()())
    database.write_now(lambda connection: write_denials(connection, rows))
    shown = run("denials")
    for text in ("401", "unknown", "10.0.0.1", "[red]", "id-1"):
        assert text in shown, text
    assert "\x1b[31m" not in shown
