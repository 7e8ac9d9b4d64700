"""The targets that `notify_urls` names, and the only importer of Apprise.

An address holds secrets. It stays in this module: what others see of it is the target's name.
"""

import hashlib
import logging
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from services.notifier.delivery import Delivery, LogLine, Outcome, explain, redacted
from shared.settings import Settings

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_PASSWORD = re.compile(r"^([^/?#]*?):[^/?#]*@")
_DIGEST_CHARACTERS = 6


@dataclass(frozen=True)
class Target:
    """One address to send to."""

    name: str
    """Its scheme and a digest, as `slack-3f2a9c`."""
    position: int
    """Of its address in the setting, from 1."""
    pause_seconds: float
    """What the target's service wants between two messages."""
    send: Callable[[str, str, str], Delivery] = field(repr=False)
    """Hand over (title, body, kind) and wait for what becomes of it. Never raises."""


@dataclass(frozen=True)
class Targets:
    """What the setting says."""

    usable: tuple[Target, ...] = ()
    faults: tuple[str, ...] = ()
    """What is wrong with it, by position and without any content."""


def read_targets(settings: Settings) -> Targets:
    """The targets. An address that Apprise can't use is a fault and leaves the others be."""
    urls = settings.notify_urls.get_secret_value().split() if settings.notify_urls else []
    if not urls:
        return Targets()  # without Apprise, which takes 50 MB and more than a second to import
    usable: dict[str, Target] = {}
    faults = []
    asset = _asset()
    for position, url in enumerate(urls, 1):
        where = f"address {position} of {len(urls)} in NOTIFY_URLS"
        plugin = _plugin(url, asset, settings.notify_timeout_seconds)
        if plugin is None:
            faults.append(f"{where} is none that Apprise understands; nobody is told there")
            continue
        name = target_name(url)
        if name in usable:
            faults.append(f"{where} is the same as address {usable[name].position}; passed over")
            continue
        usable[name] = Target(
            name, position, float(plugin.request_rate_per_sec), _sender(plugin, url, asset)
        )
    return Targets(tuple(usable.values()), tuple(faults))


def target_name(url: str) -> str:
    """Scheme and digest of an address.

    A password between `:` and `@` is left out: a short digest of a weak one would give it away,
    and with a new password the target is who it was.
    """
    scheme, _, rest = url.partition("://")
    named = f"{scheme}://" + _PASSWORD.sub(r"\1@", rest)
    digest = hashlib.sha256(named.encode()).hexdigest()
    return f"{scheme.lower()}-{digest[:_DIGEST_CHARACTERS]}"


def _asset() -> Any:
    """How Apprise is to behave: in our thread, storing nothing, with no pictures from elsewhere.

    Its log lines hold parts of addresses: none goes to this process's log.
    """
    log = logging.getLogger("apprise")
    log.setLevel(logging.DEBUG)  # the cause of a failure is told at this level only
    log.propagate = False

    import apprise

    return apprise.AppriseAsset(
        app_id="Headrace",
        app_desc="Headrace",
        app_url="",
        image_url_mask="",
        image_url_logo="",
        async_mode=False,
        service_timeout=0,
        storage_mode="memory",
        pgp_autogen=False,
        pem_autogen=False,
    )


def _plugin(url: str, asset: Any, timeout_seconds: float) -> Any:
    """Apprise's plugin for the address; None where there is none."""
    import apprise

    if not _SCHEME.match(url):
        return None
    plugin = apprise.Apprise.instantiate(url, asset=asset)
    if plugin is None:
        return None
    if not re.search(r"[?&]rto=", url):
        plugin.socket_read_timeout = timeout_seconds
    if not re.search(r"[?&]overflow=", url):
        plugin.overflow_mode = apprise.OverflowMode.TRUNCATE
    return plugin


def _sender(plugin: Any, url: str, asset: Any) -> Callable[[str, str, str], Delivery]:
    import apprise

    sending = apprise.Apprise(asset=asset)
    sending.add(plugin)

    def send(title: str, body: str, kind: str) -> Delivery:
        try:
            answer = sending.notify(
                body=body,
                title=title,
                notify_type=kind,
                body_format=apprise.NotifyFormat.TEXT,
                log_level=logging.DEBUG,
            )
            lines = [LogLine(entry.level, entry.message) for entry in answer.logs()]
            # Not the answer itself: it is yes as well for a failure of `?optional=yes`.
            is_sent = any(bool(attempt) for result in answer for attempt in result)
        except Exception as error:
            return Delivery(Outcome.UNKNOWN, redacted(f"{type(error).__name__}: {error}", url))
        return explain(is_sent, lines, url)

    return send
