"""Keys, tokens, limits and the record of denials, on a real SQLite file."""

from __future__ import annotations

import base64
import datetime as dt
import inspect
import json
from dataclasses import replace

import jwt
import pytest
from sqlalchemy import select

from serving.access import keyring
from serving.access.caller import SCOPES, Caller
from serving.access.credentials import Credentials, digest, new_key_id, new_secret, read_key
from serving.access.denials import MOST_KINDS, Denial, Denials, read_denials, write_denials
from serving.access.desk import desk_of
from serving.access.keyring import Keyring
from serving.access.keys import create_key, find_key, read_changes, read_keys, revoke_key, rotate_key
from serving.access.rates import ADDRESSES, WINDOW, Bucket, Failures, network
from serving.access.tables import KEYS
from serving.access.tokens import LIFETIME, Token, TokenSigner
from serving.errors import AccessKeyError
from serving.records.keys import open_vault
from serving.records.store import open_database
from serving.settings import Settings

NOW = dt.datetime(2026, 3, 1, 23, 30)
HOUR = dt.timedelta(hours=1)
SHOP = Caller("", "shop", "platform", frozenset({"quotes:read", "quotes:write"}))
MASTER = bytes(range(32))


@pytest.fixture
def database(tmp_path):
    opened = open_database(Settings(lake=tmp_path), open_vault(Settings(lake=tmp_path)))
    yield opened
    opened.close_now()


def made(database, who=SHOP, days=365) -> Credentials:
    return database.write_now(lambda con: create_key(con, who, dt.timedelta(days=days), "Lin", NOW))


def ring(database, signer=None) -> Keyring:
    keys = Keyring(signer or TokenSigner(MASTER), 100, 5)
    keys.put(database.read_now(read_keys), database.read_now(read_changes), 0.0)
    return keys


def caller_of(found) -> Caller:
    assert not isinstance(found, str), found
    return found.caller


# --- keys -------------------------------------------------------------------------------------------------


def test_a_key_is_read_as_it_is_written_and_its_secret_is_stored_nowhere(database, tmp_path):
    key = made(database)
    assert read_key(key.text) == key
    assert caller_of(ring(database).by_key(key.text, NOW)) == replace(SHOP, key_id=key.key_id)
    assert database.read_now(lambda con: con.execute(select(KEYS.c.digest)).scalar()) == digest(key.secret)
    stored = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert key.secret.encode() not in stored
    assert bytes.fromhex(key.secret) not in stored
    assert len(bytes.fromhex(new_secret())) == 32


@pytest.mark.parametrize(
    "text", ["", "premia_live_x_y", "premia_prod_" + "a" * 12 + "_" + "b" * 64, "é" * 90]
)
def test_what_is_no_key_is_not_looked_up(database, text):
    assert read_key(text) is None
    assert ring(database).by_key(text, NOW) == "malformed"


def test_a_wrong_secret_an_unknown_id_and_a_wrong_kind_are_the_same_refusal(database):
    key = made(database)
    keys = ring(database)
    for wrong in (
        replace(key, secret=new_secret()),
        replace(key, key_id=new_key_id()),
        replace(key, sandbox=True),
    ):
        assert keys.by_key(wrong.text, NOW) == "unknown"


def test_an_unknown_id_costs_the_same_hash_and_comparisons(database, monkeypatch):
    """Timing cannot be asserted; that both take one path can."""
    key = made(database)
    keys, calls = ring(database), []
    compare, hashed = keyring.compare_digest, keyring.digest
    monkeypatch.setattr(keyring, "compare_digest", lambda a, b: calls.append("compare") or compare(a, b))
    monkeypatch.setattr(keyring, "digest", lambda text: calls.append("hash") or hashed(text))
    seen = []
    for tried in (key, replace(key, secret=new_secret()), replace(key, key_id=new_key_id())):
        keys.by_key(tried.text, NOW)
        seen.append(tuple(calls))
        calls.clear()
    assert seen == [("hash", "compare", "compare")] * 3
    assert "==" not in inspect.getsource(Keyring.by_key)


def test_rotation_lets_the_old_secret_live_for_the_overlap_only(database):
    first = made(database)
    second = database.write_now(lambda con: rotate_key(con, first.key_id, HOUR, "Lin", NOW))
    keys = ring(database)
    assert second.key_id == first.key_id
    for key in (first, second):
        caller_of(keys.by_key(key.text, NOW + HOUR / 2))
    caller_of(keys.by_key(second.text, NOW + HOUR))
    assert keys.by_key(first.text, NOW + HOUR) == "rotated"
    third = database.write_now(lambda con: rotate_key(con, first.key_id, 0 * HOUR, "Lin", NOW))
    keys = ring(database)
    assert keys.by_key(first.text, NOW) == "unknown"
    assert keys.by_key(second.text, NOW) == "rotated"
    caller_of(keys.by_key(third.text, NOW))


def test_a_key_ends_by_time_and_by_revocation(database):
    key = made(database, days=1)
    keys = ring(database)
    caller_of(keys.by_key(key.text, NOW + 23 * HOUR))
    assert keys.by_key(key.text, NOW + 24 * HOUR) == "expired"
    database.write_now(lambda con: revoke_key(con, key.key_id, "Zhou", NOW))
    assert ring(database).by_key(key.text, NOW) == "revoked"
    for work in (
        lambda con: revoke_key(con, key.key_id, "Zhou", NOW),
        lambda con: rotate_key(con, key.key_id, HOUR, "Zhou", NOW),
    ):
        with pytest.raises(AccessKeyError, match="revoked"):
            database.write_now(work)


def test_every_change_moves_the_counter(database):
    numbers = [database.read_now(read_changes)]
    key = made(database)
    numbers.append(database.read_now(read_changes))
    database.write_now(lambda con: rotate_key(con, key.key_id, HOUR, "Lin", NOW))
    numbers.append(database.read_now(read_changes))
    database.write_now(lambda con: revoke_key(con, key.key_id, "Lin", NOW))
    numbers.append(database.read_now(read_changes))
    assert numbers == [0, 1, 2, 3]


def test_a_scope_that_does_not_exist_makes_no_key(database):
    with pytest.raises(AccessKeyError, match="'quotes:wrong'.*quotes:write"):
        made(database, replace(SHOP, scopes=frozenset({"quotes:wrong"})))
    assert database.read_now(read_keys) == []


def test_a_key_shown_whole_in_place_of_its_id_is_not_repeated(database):
    key = made(database)
    with pytest.raises(AccessKeyError) as refused:
        database.read_now(lambda con: find_key(con, key.text))
    assert key.secret not in str(refused.value)


# --- tokens -----------------------------------------------------------------------------------------------


def token_of(key: Credentials, **changes) -> Token:
    return replace(Token(key.key_id, 1, frozenset({"quotes:read"}), NOW + LIFETIME), **changes)


def test_a_token_narrows_the_scopes_and_never_widens_them(database):
    key, signer = made(database), TokenSigner(MASTER)
    keys = ring(database, signer)
    text = signer.sign(token_of(key, scopes=frozenset({"quotes:read", "admin"})), NOW)
    for _ in range(2):  # read, then remembered
        assert caller_of(keys.by_token(text, NOW)).scopes == {"quotes:read"}
    caller_of(
        keys.by_token(text, NOW + LIFETIME - dt.timedelta(seconds=1))
    )  # past midnight, by the day before
    assert keys.by_token(text, NOW + LIFETIME) == "invalid-token"
    assert not keys.verified(text)


def test_a_token_dies_with_its_key_and_with_its_secret(database):
    key, signer = made(database), TokenSigner(MASTER)
    text = signer.sign(token_of(key), NOW)
    database.write_now(lambda con: rotate_key(con, key.key_id, 0 * HOUR, "Lin", NOW))
    assert ring(database, signer).by_token(text, NOW) == "rotated"
    newer = signer.sign(token_of(key, secret=2), NOW)
    caller_of(ring(database, signer).by_token(newer, NOW))
    database.write_now(lambda con: revoke_key(con, key.key_id, "Lin", NOW))
    assert ring(database, signer).by_token(newer, NOW) == "revoked"


def encoded(part: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode()


def test_forged_tokens_are_refused(database):
    key, signer = made(database), TokenSigner(MASTER)
    keys = ring(database, signer)
    good = signer.sign(token_of(key), NOW)
    head, body, seal = good.split(".")
    claims = jwt.decode(good, options={"verify_signature": False})
    secret, kid = signer._key("20260301"), {"kid": "20260301", "typ": "at+jwt"}

    def signed(changes=None, key=secret, algorithm="HS256", headers=None) -> str:
        return jwt.encode(claims | (changes or {}), key, algorithm, headers=kid | (headers or {}))

    caller_of(keys.by_token(signed(), NOW))  # so that each of the others fails for what it changes
    without = {name: value for name, value in claims.items() if name != "exp"}
    forged = {
        "alg none": f"{encoded({'alg': 'none', **kid})}.{body}.",
        "alg none, sealed": f"{encoded({'alg': 'none', **kid})}.{body}.{seal}",
        "another algorithm": signed(algorithm="HS512", key=secret * 2),
        "other key": signed(key=b"k" * 32),
        "master key itself": signed(key=MASTER),
        "claims changed": f"{head}.{encoded(claims | {'scope': 'admin'})}.{seal}",
        "another audience": signed({"aud": "other"}),
        "audiences": signed({"aud": ["premia", "other"]}),
        "another issuer": signed({"iss": "other"}),
        "expired": signed({"exp": int(NOW.replace(tzinfo=dt.UTC).timestamp()) - 1}),
        "without end": jwt.encode(without, secret, "HS256", headers=kid),
        "of no key": signed({"sub": new_key_id()}),
        "kid of another day": signed(headers={"kid": "20260227"}),
        "kid as path": signed(headers={"kid": "../../dev/null"}),
        "kid as list": f"{encoded({'alg': 'HS256', 'typ': 'at+jwt', 'kid': ['20260301']})}.{body}.{seal}",
        "another type": signed(headers={"typ": "JWT"}),
        "no JSON": "a.b.c",
        "empty": "..",
    }
    for name, text in forged.items():
        assert keys.by_token(text, NOW) == "invalid-token", name


# --- limits -----------------------------------------------------------------------------------------------


def test_a_bucket_gives_a_burst_then_its_rate_and_says_so():
    bucket = Bucket(2, 0.0)
    assert dict(bucket.headers()) == {
        b"ratelimit": b'"key";r=20;t=0',
        b"ratelimit-policy": b'"key";q=20;w=10',
    }
    assert [bucket.take(0.0) for _ in range(2 * WINDOW + 1)] == [True] * 20 + [False]
    assert bucket.wait() == 1
    assert bucket.headers()[0] == (b"ratelimit", b'"key";r=0;t=10')
    assert bucket.take(0.5)
    assert not bucket.take(0.5)
    assert [bucket.take(1_000.0) for _ in range(21)] == [True] * 20 + [False]


def test_what_a_key_has_used_stays_used_when_keys_are_read_anew(database):
    key = made(database)
    keys = ring(database)
    bucket = keys.by_key(key.text, NOW).bucket
    bucket.take(0.0)
    keys.put(database.read_now(read_keys), 7, 5.0)
    assert keys.by_key(key.text, NOW).bucket is bucket
    keys.put([replace(one, rate=1) for one in database.read_now(read_keys)], 8, 5.0)
    assert keys.by_key(key.text, NOW).bucket.quota == WINDOW


def test_an_address_that_guesses_must_wait_and_a_working_key_need_not():
    failures = Failures(6)  # one in ten seconds, a hundredth of a call a second
    assert failures.must_wait("10.0.0.1", "a", 0.0) is None
    failures.works("10.0.0.1", "a")
    for _ in range(3):
        failures.failed("10.0.0.1", 0.0)
    assert failures.must_wait("10.0.0.1", "b", 0.0) == 10
    assert failures.must_wait("10.0.0.1", None, 0.0) == 10
    assert failures.must_wait("10.0.0.1", "a", 0.0) is None
    assert failures.must_wait("10.0.0.2", "b", 0.0) is None
    assert failures.must_wait("10.0.0.1", "b", 11.0) is None


def test_addresses_are_bounded_and_one_ipv6_host_is_one_address():
    failures = Failures(1)
    for number in range(ADDRESSES + 10):
        failures.failed(f"host{number}", 0.0)
    assert len(failures._buckets) == ADDRESSES
    assert network("2001:db8::1") == network("2001:db8::ffff:1") != network("2001:db8:0:1::1")
    assert network("::ffff:10.0.0.1") == network("10.0.0.1") == "10.0.0.1"
    assert network("testclient") == "testclient"


# --- denials ----------------------------------------------------------------------------------------------


def test_denials_are_counted_kept_and_bounded(database):
    denials = Denials()
    once = Denial(403, "scope", "k" * 12, "10.0.0.1", "POST", "/v1/quotes")
    denials.note(once, "r1", NOW)
    denials.note(once, "r2", NOW + HOUR)
    for number in range(50):
        denials.note(Denial(429, "rate", "k" * 12, "10.0.0.1", "GET", f"/v1/{number}"), "r3", NOW)
    rows = denials.take(NOW)
    assert [(row["times"], row["request_id"]) for row in rows] == [(2, "r2")]
    rows += denials.take(NOW, closing=True)
    database.write_now(lambda con: write_denials(con, rows))
    newest, before = database.read_now(lambda con: read_denials(con, 10))
    assert (newest[0], newest[1].times) == (Denial(429, "rate", "k" * 12, "10.0.0.1", "*", "*"), 50)
    assert before[0] == once
    assert (before[1].first, before[1].last) == (NOW, NOW + HOUR)
    for number in range(MOST_KINDS + 500):
        denials.note(Denial(401, "unknown", None, f"a{number}", "GET", "/" + "x" * 500), "r", NOW)
    rows = denials.take(NOW)
    assert len(rows) == MOST_KINDS + 1
    assert rows[-1]["times"] == 500
    assert len(rows[0]["path"]) == 128


def test_old_denials_make_room(database, monkeypatch):
    monkeypatch.setattr("serving.access.denials.MOST_ROWS", 3)
    for number in range(5):
        denials = Denials()
        denials.note(Denial(401, "unknown", None, "a", "GET", f"/{number}"), "r", NOW)
        rows = denials.take(NOW)
        database.write_now(lambda con, rows=rows: write_denials(con, rows))
    assert [one.path for one, _ in database.read_now(lambda con: read_denials(con, 10))] == ["/4", "/3", "/2"]


# --- the open mode ----------------------------------------------------------------------------------------


def test_keys_are_the_rule_and_the_open_mode_is_for_this_machine_only(monkeypatch, tmp_path):
    monkeypatch.delenv("PREMIA_ACCESS")
    assert Settings().access == "keys"
    assert desk_of(Settings(lake=tmp_path)) is not None
    assert not list(tmp_path.iterdir())  # nothing is opened before the service runs
    for host in ("127.0.0.1", "::1", "localhost"):
        assert desk_of(Settings(access="open", host=host)) is None
    with pytest.raises(AccessKeyError, match=r"0\.0\.0\.0"):
        desk_of(Settings(access="open", host="0.0.0.0"))  # noqa: S104 - that is the point


def test_every_scope_says_what_it_is_for():
    assert all(SCOPES.values())
