"""What an answer or an exception proves of an order: a row for each case that is known of Kite, the rest unknown."""

from __future__ import annotations

import http.client
import ssl
from typing import Any

import kiteconnect.exceptions as kite
import pytest
import requests
import urllib3
from exec_broker_zerodha import replies
from exec_broker_zerodha.failures import Failure, Kind, Seen, failure_of, safe_text
from exec_broker_zerodha.replies import Verdict

REFUSED, NOT_SENT, LOGIN, UNKNOWN = Verdict.REFUSED, Verdict.NOT_SENT, Verdict.LOGIN_NEEDED, Verdict.UNKNOWN
NO_PROTECTION = "Market orders without market protection are not allowed via API. Please set market protection or ..."
TIMED_OUT = "Order request timed out. Please check the order book and confirm before placing again."
NO_ADDRESS = "No IPs configured for this app. Add allowed IPs on the Kite developer console."
FUNDS = "Insufficient funds. Required margin is 95417.84 but available margin is 74251.80."


def wrapped(reason: Exception) -> requests.ConnectionError:
    """As `requests` wraps what `urllib3` gave up with."""
    pool = urllib3.HTTPSConnectionPool("api.kite.trade", 443)
    return requests.ConnectionError(urllib3.exceptions.MaxRetryError(pool, "/orders/regular", reason))


def refused_connection() -> Exception:
    return wrapped(urllib3.exceptions.NewConnectionError(None, "[Errno 111] Connection refused"))  # type: ignore[arg-type]


def certificate() -> Exception:
    reason = urllib3.exceptions.SSLError(ssl.SSLCertVerificationError(1, "certificate verify failed"))
    return requests.exceptions.SSLError(urllib3.exceptions.MaxRetryError(None, "/", reason))  # type: ignore[arg-type]


PLACING: list[tuple[str, Exception, Verdict]] = [
    ("no protection", kite.InputException(NO_PROTECTION, code=400), REFUSED),
    ("tick size", kite.InputException("Tick size for this script is 0.10. Kindly enter price ...", code=400), REFUSED),
    ("margin, as the library calls it", kite.GeneralException(FUNDS, code=400), REFUSED),
    ("holding", kite.GeneralException("Insufficient stock holding in your account.", code=400), REFUSED),
    ("depository", kite.GeneralException("Holdings authorisation required", code=428), REFUSED),
    ("address", kite.PermissionException(NO_ADDRESS, code=403), REFUSED),
    ("address, another class", kite.GeneralException(NO_ADDRESS, code=403), REFUSED),
    ("address", kite.InputException("IP not allowed to place orders for this app", code=400), REFUSED),
    ("permission", kite.PermissionException("Insufficient permission for that call.", code=403), REFUSED),
    ("token", kite.TokenException("Incorrect `api_key` or `access_token`.", code=403), LOGIN),
    ("too many", kite.NetworkException("Too many requests", code=429), NOT_SENT),
    ("too many, as HTTP 200", kite.NetworkException("Too many requests", code=200), NOT_SENT),
    ("connection refused", refused_connection(), NOT_SENT),
    ("no such host", wrapped(urllib3.exceptions.NameResolutionError("h", None, OSError("no"))), NOT_SENT),  # type: ignore[arg-type]
    ("connecting took too long", requests.ConnectTimeout("timed out"), NOT_SENT),
    ("certificate", certificate(), NOT_SENT),
    # Everything below may be live.
    ("placed 8 s later", kite.OrderException(TIMED_OUT, code=400), UNKNOWN),
    ("the same as another class", kite.InputException(TIMED_OUT, code=400), UNKNOWN),
    ("order error", kite.OrderException("Something", code=500), UNKNOWN),
    ("order error of ours", kite.OrderException("Something", code=400), UNKNOWN),
    ("order system away", kite.NetworkException("Request failed (kitetrade-oms)", code=503), UNKNOWN),
    ("gateway", kite.NetworkException("Gateway timed out", code=504), UNKNOWN),
    ("bad answer of the order system", kite.DataException("bad", code=502), UNKNOWN),
    ("unclassified", kite.GeneralException("Something went wrong", code=500), UNKNOWN),
    ("unclassified, with 400", kite.GeneralException("Something went wrong", code=400), UNKNOWN),
    ("funds, but with 500", kite.GeneralException(FUNDS, code=500), UNKNOWN),
    ("input error, but with 500", kite.InputException("bad", code=500), UNKNOWN),
    ("input error, but with 200", kite.InputException("bad", code=200), UNKNOWN),
    ("token, but with 500", kite.TokenException("bad", code=500), UNKNOWN),
    ("no JSON", kite.DataException("Couldn't parse the JSON response received from the server: b'x'"), UNKNOWN),
    ("slow", requests.ReadTimeout("read timed out"), UNKNOWN),
    ("dropped", requests.ConnectionError(("Connection aborted.", http.client.RemoteDisconnected("x"))), UNKNOWN),
    ("reset", requests.ConnectionError(("Connection aborted.", ConnectionResetError(104, "reset"))), UNKNOWN),
    ("cut", requests.exceptions.ChunkedEncodingError("IncompleteRead"), UNKNOWN),
    ("a break of TLS on the way", requests.exceptions.SSLError(ssl.SSLError("decryption failed")), UNKNOWN),
    ("no content type", KeyError("content-type"), UNKNOWN),
    ("null data", TypeError("'NoneType' object is not subscriptable"), UNKNOWN),
    ("no error type", TypeError("attribute name must be string, not 'NoneType'"), UNKNOWN),
    ("null list", UnboundLocalError("_list"), UNKNOWN),
    ("whatever", RuntimeError("?"), UNKNOWN),
]


@pytest.mark.parametrize(("error", "verdict"), [row[1:] for row in PLACING], ids=[row[0] for row in PLACING])
def test_what_an_exception_proves_of_an_order(error: Exception, verdict: Verdict) -> None:
    judged = replies.of_placing(failure_of(error))
    assert judged.verdict is verdict, judged.text


def test_kites_own_word_goes_before_the_librarys_class() -> None:
    # The library has no MarginException and calls it general; the text may be another one day.
    error = kite.GeneralException("RMS:Margin Exceeds", code=400)
    assert replies.of_placing(failure_of(error)).verdict is UNKNOWN
    seen = Seen(400, None, "MarginException")
    assert replies.of_placing(failure_of(error, seen)).verdict is REFUSED


def test_an_answer_that_the_library_could_not_read_keeps_its_status() -> None:
    failure = failure_of(kite.DataException("Unknown Content-Type (text/html)"), Seen(403))
    assert (failure.kind, failure.status) == (Kind.NO_ANSWER, 403)
    assert replies.of_placing(failure).verdict is UNKNOWN


def test_too_many_requests_is_known_as_such() -> None:
    assert replies.of_placing(failure_of(kite.NetworkException("Too many requests", code=429))).is_busy
    assert replies.of_asking(failure_of(kite.NetworkException("Too many requests", code=200))).is_busy
    assert not replies.of_asking(failure_of(kite.NetworkException("away", code=503))).is_busy


CANCELLING: list[tuple[str, Exception, Verdict]] = [
    (
        "busy or ended",
        kite.InputException("Order cannot be cancelled as it is being processed. Try later.", 400),
        REFUSED,
    ),
    ("not there", kite.GeneralException("Couldn't find that `order_id`.", 404), REFUSED),
    ("not there, as an error of theirs", kite.GeneralException("Couldn't find that `order_id`.", 500), REFUSED),
    ("address", kite.PermissionException(NO_ADDRESS, 403), REFUSED),
    ("token", kite.TokenException("bad", 403), LOGIN),
    ("too many", kite.NetworkException("Too many requests", 429), UNKNOWN),
    ("timed out", kite.OrderException(TIMED_OUT, 400), UNKNOWN),
    ("away", kite.NetworkException("Request failed (kitetrade-oms)", 503), UNKNOWN),
    ("slow", requests.ReadTimeout("slow"), UNKNOWN),
    ("refused connection", refused_connection(), NOT_SENT),
    ("null", TypeError("null"), UNKNOWN),
]


@pytest.mark.parametrize(("error", "verdict"), [row[1:] for row in CANCELLING], ids=[row[0] for row in CANCELLING])
def test_what_an_exception_proves_of_a_cancel(error: Exception, verdict: Verdict) -> None:
    assert replies.of_cancelling(failure_of(error)).verdict is verdict


def test_an_address_that_is_not_registered_is_explained() -> None:
    judged = replies.of_placing(failure_of(kite.PermissionException(NO_ADDRESS, code=403)))
    assert NO_ADDRESS in judged.text
    assert "static IP" in judged.text


def test_no_token_at_all_means_a_login() -> None:
    lack = Failure(Kind.NOT_SENT, "there is no access token", None, "TokenException")
    for judge in (replies.of_placing, replies.of_cancelling, replies.of_asking):
        assert judge(lack).verdict is LOGIN


def test_a_text_is_one_line_without_secrets() -> None:
    text: Any = safe_text("a key:s3cret\n and  s3cret " + "x" * 1000, ["s3cret", ""])
    assert text.startswith("a key:*** and ***")
    assert len(text) < 400
