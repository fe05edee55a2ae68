"""What every refusal of the API has in common."""

import httpx

SECRET = "hunter2-which-nobody-may-see"
"""Part of what is sent; no answer may repeat it."""


def refusal(answer: httpx.Response, status: int, code: str) -> str:
    """The answer is this refusal, in the one shape that all have. Its message and hint."""
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert error.keys() == {"code", "message", "step", "hint"}
    assert error["code"] == code, error
    assert SECRET not in answer.text
    assert "Traceback" not in answer.text
    assert len(answer.text) < 1000
    return f"{error['message']}; {error['hint']}"
