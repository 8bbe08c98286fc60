"""A block to paste into an issue: versions, settings and findings, and nothing that is private."""

import locale
import os
import platform
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import replace
from importlib import metadata
from ipaddress import ip_address
from pathlib import Path
from typing import TextIO
from urllib.parse import urlsplit

import companion
from companion.door import is_folder
from companion.hub import endpoints
from companion.hub.endpoints import MODELSCOPE, OFFLINE

from .finding import Finding, Verdict, worst
from .libraries import requirements
from .privacy import VARIABLES, Privacy
from .report import NAME_WIDTH, PLAIN, lines, writable

PLAIN_VALUE = re.compile(r"[\w.,:+-]{0,40}")
NEVER = 10**6  # columns: what is pasted is not wrapped


def write_for_issue(findings: Iterable[Finding], to: TextIO | None = None) -> Verdict:
    """Write the block, each finding as it comes; give the worst verdict.

    No token or password, user, host or home folder is in it; see `privacy`.
    """
    to = to or sys.stdout
    privacy, listed = Privacy(), []

    def put(text: str) -> None:
        if to is not None:
            print(writable(text.replace("```", "'''"), to), file=to, flush=True)

    if to is not None:
        print("```text", file=to)
    for name, value in _facts(privacy):
        put(f"{name:{NAME_WIDTH}}{value}")
    put("")
    for finding in findings:
        listed.append(finding)
        text, remedy = privacy.hide(finding.text), privacy.hide(finding.remedy)
        put(lines(replace(finding, text=text, remedy=remedy), signs=PLAIN, width=NEVER))
    if to is not None:
        print("```", file=to, flush=True)
    return worst(listed)


def _facts(privacy: Privacy) -> Iterator[tuple[str, str]]:
    yield "companion", companion.__version__
    yield "Python", f"{platform.python_version()}, {platform.python_implementation()}"
    yield "System", privacy.hide(platform.platform())
    yield "Encoding", f"{sys.getfilesystemencoding()}, {locale.getpreferredencoding(False)}"
    yield "Libraries", ", ".join(f"{name} {_version(name)}" for name in requirements())
    yield "Variables", ", ".join(_variables(privacy)) or "none set"


def _version(name: str) -> str:
    """With the build, such as 2.13.0+cpu."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "not installed"


def _variables(privacy: Privacy) -> Iterator[str]:
    for name in VARIABLES["values"]:
        value = os.environ.get(name)
        if value is not None:
            plain = PLAIN_VALUE.fullmatch(value)
            yield f"{name}={privacy.hide(value) if plain else '(no plain word)'}"
    for name in VARIABLES["addresses"]:
        if name in os.environ:
            yield f"{name} ({_kind(os.environ[name])})"
    yield from (f"{name} (set)" for name in VARIABLES["names"] if name in os.environ)


def _kind(address: str) -> str:
    """What may be told of an address."""
    if address in ("auto", OFFLINE.name, MODELSCOPE):
        return address
    for known in endpoints().values():
        if address.rstrip("/") in (known.name, known.address):
            return known.name
    if is_folder(Path(address)):
        return "a folder"
    try:
        parts = urlsplit(address if "://" in address else f"//{address}")
        host, scheme = parts.hostname or "", f"{parts.scheme}, " if parts.scheme else ""
    except ValueError:
        return "no address"
    secured = ", with a password" if "@" in address else ""
    try:
        own = host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        own = False
    return f"{scheme}{'this machine' if own else 'another host'}{secured}"
