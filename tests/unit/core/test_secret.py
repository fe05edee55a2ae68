"""A secret does not show itself, whichever way it is printed."""

from dataclasses import dataclass

from ciab.core.secret import Secret


@dataclass(frozen=True)
class Holder:
    secret: Secret


def test_a_secret_never_prints_its_text() -> None:
    secret = Secret("hunter2")
    shown = [str(secret), repr(secret), f"{secret}", f"{secret!r}", "%s" % secret, repr(Holder(secret))]  # noqa: UP031 - this way of printing too
    assert not [text for text in shown if "hunter2" in text]
    assert secret.reveal() == "hunter2"
    assert secret == Secret("hunter2")
