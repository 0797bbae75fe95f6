"""How long a client is willing to wait, as it says in a header or in the V2 parameter `timeout`.

The header `timeout` is in seconds, for people. `x-envoy-expected-rq-timeout-ms` is what an Envoy
gateway adds when the route has a timeout, so the work stops when the gateway stops waiting. The V2
parameter is in microseconds, because Triton's clients send it so:
https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_schedule_policy.md
"""

import re
from collections.abc import Mapping

from predictor.errors import MalformedRequestError

HEADER = "timeout"
ENVOY_HEADER = "x-envoy-expected-rq-timeout-ms"
PARAMETER = "timeout"

NUMBER = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9})?")
UNITS = {HEADER: ("seconds", 1.0), ENVOY_HEADER: ("milliseconds", 1e-3)}


def header_timeout_s(headers: Mapping[str, str]) -> float | None:
    """The shortest time that the headers name, in seconds; None if they name none.

    Raises:
        MalformedRequestError: a header is no positive number.
    """
    found = []
    for name, (unit, seconds) in UNITS.items():
        value = headers.get(name)
        if value is None:
            continue
        if not NUMBER.fullmatch(value) or float(value) == 0:
            raise MalformedRequestError(
                f"header {name} is {value[:40]!r}; a number of {unit} greater than 0 is expected"
            )
        found.append(float(value) * seconds)
    return min(found, default=None)


def parameter_timeout_s(value: object) -> float | None:
    """The V2 parameter in seconds; None if it is absent or, as in Triton, 0.

    Raises:
        MalformedRequestError: it is no integer, or negative.
    """
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise MalformedRequestError(
            f"parameter {PARAMETER} is {str(value)[:40]!r}; an integer of microseconds is expected"
        )
    return value * 1e-6 or None
