"""Reading user agents: which browser, which system, which kind of device."""

import re
from functools import lru_cache
from typing import NamedTuple

from ua_parser import parse

from app.domain.device import device_type


class Client(NamedTuple):
    """What a user agent told. `software` has families and major versions, and nothing else."""

    device_type: str | None
    browser: str | None
    os: str | None
    software: str | None


# Nobody's browser has any, and a family that is read off the text would.
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


# A shop sees the same few hundred over and over.
@lru_cache(maxsize=4096)
def read_user_agent(user_agent: str) -> Client:
    """The device, browser and system behind a User-Agent header."""
    found = parse(_CONTROL.sub(" ", user_agent))
    browser, system, device = found.user_agent, found.os, found.device
    software = [
        each.family if each.major is None else f"{each.family}/{each.major}"
        for each in (browser, system)
        if each is not None and each.family
    ]
    os = None if system is None else system.family or None
    return Client(
        device_type(user_agent, device=None if device is None else device.family, system=os),
        None if browser is None else browser.family or None,
        os,
        " ".join(software) or None,
    )
