"""URLs of the sample web, and the pages that stand behind a row's URL."""

from __future__ import annotations

from random import Random

from pipelines.sample_web.payloads import Payload
from pipelines.sample_web.site import Behaviour, Page
from pipelines.sample_web.troubles import Trouble

IMAGE_HOSTS = tuple(f"img{n}.sample.test" for n in range(8))
MIRROR_HOSTS = ("mirror.sample.test", "cdn.mirror-two.test")
SLOW_HOST = "slow.sample.test"
_EXTENSIONS = {"jpeg": ("jpg", "jpg", "jpeg", "JPG"), "png": ("png",), "gif": ("gif",), "webp": ("webp",)}
_MALFORMED = (
    "not a url at all", "http://", "https:///picture-{n}.jpg", "http://[::1/picture-{n}.jpg",
    "http://img0.sample.test:99999/{n}.jpg", "://img0.sample.test/{n}.jpg",
)  # fmt: skip
_PRIVATE = (
    "http://127.0.0.1/{n}.jpg", "http://169.254.169.254/latest/meta-data/{n}", "http://10.11.12.13/{n}.jpg",
    "http://[::1]/{n}.jpg", "http://localhost/{n}.jpg",
)  # fmt: skip
"""No request ever reaches one of these: a downloader that tries has a hole."""

_BEHAVIOURS: dict[Trouble, Behaviour] = {
    Trouble.reset: Behaviour.reset,
    Trouble.recovering_503: Behaviour.recovering,
    Trouble.noai_header: Behaviour.image_noai,
    Trouble.never_answers: Behaviour.never,
    Trouble.drips: Behaviour.drip,
    Trouble.truncated_body: Behaviour.truncated,
    Trouble.html_as_jpeg: Behaviour.html_as_jpeg,
    Trouble.html_page: Behaviour.html,
    Trouble.jpeg_as_html: Behaviour.image_as_html,
    Trouble.empty_body: Behaviour.empty,
    Trouble.endless_body: Behaviour.endless,
    Trouble.oversize_body: Behaviour.oversize,
    Trouble.bomb_header: Behaviour.bomb_header,
    Trouble.bomb_zlib: Behaviour.bomb_zlib,
    Trouble.svg: Behaviour.svg,
    Trouble.one_pixel: Behaviour.one_pixel,
    Trouble.tiny: Behaviour.tiny,
}
_STATUS = {Trouble.gone_404: 404, Trouble.gone_410: 410, Trouble.error_500: 500}
_HOSTS = {
    Trouble.never_answers: SLOW_HOST,
    Trouble.drips: SLOW_HOST,
    Trouble.refused: "refused.sample.test",
    Trouble.unknown_host: "pictures.no-such-host.invalid",
}


def fresh_url(payload: Payload, rng: Random, mirror: bool = False, host: str | None = None) -> str:
    """A URL no other row has, in one of the styles of the web."""
    host = host or rng.choice(MIRROR_HOSTS if mirror else IMAGE_HOSTS)
    extension = rng.choice(_EXTENSIONS[payload.encoding.split("_", maxsplit=1)[0]])
    name, number = f"{rng.getrandbits(64):016x}", rng.randrange(10**6, 10**7)
    path = rng.choice(
        (
            f"/photos/{rng.randrange(2009, 2025)}/{rng.randrange(1, 13):02d}/{name}.{extension}",
            f"/media/{number}/{name}/original.{extension}",
            f"/i/{name}?w=640&fit=crop&id={number}",
            f"/Bilder/Stra%C3%9Fe%20{number}/{name}.{extension}",
            f"/{name}",
        )
    )
    return f"http://{host}{path}"


def addressed(trouble: Trouble, payload: Payload, rng: Random) -> tuple[str | None, list[Page]]:
    """A row's URL under this trouble, and the pages the server needs for it."""
    number = rng.randrange(10**6, 10**7)
    plain = {
        Trouble.url_malformed: rng.choice(_MALFORMED).format(n=number),
        Trouble.url_private: rng.choice(_PRIVATE).format(n=number),
        Trouble.url_ftp: f"ftp://img0.sample.test/{number}.jpg",
        Trouble.not_tls: f"https://img1.sample.test/secure/{number}.jpg",
        Trouble.url_missing: rng.choice((None, "")),
    }
    if trouble in plain:
        return plain[trouble], []
    url = fresh_url(payload, rng, host=_HOSTS.get(trouble))
    if trouble in (Trouble.refused, Trouble.unknown_host):
        return url, []
    if trouble in _STATUS:
        return url, [Page(url, Behaviour.status, status=_STATUS[trouble])]
    if trouble in _REDIRECTS:
        return url, _REDIRECTS[trouble](url, payload, rng)
    return url, [Page(url, _BEHAVIOURS.get(trouble, Behaviour.image), payload)]


def _redirect(url: str, location: str, rng: Random) -> Page:
    return Page(url, Behaviour.redirect, status=rng.choice((301, 302, 303, 307, 308)), location=location)


def _chain(url: str, payload: Payload, rng: Random) -> list[Page]:
    """One to three hops, one of them to a relative address, to the picture."""
    last = fresh_url(payload, rng)
    host = last.removeprefix("http://").partition("/")[0]
    middle = f"http://{host}/go/{rng.getrandbits(48):012x}"
    if rng.random() < 0.3:
        return [_redirect(url, last, rng), Page(last, Behaviour.image, payload)]
    relative = last.removeprefix(f"http://{host}")
    return [_redirect(url, middle, rng), _redirect(middle, relative, rng), Page(last, Behaviour.image, payload)]


def _loop(url: str, payload: Payload, rng: Random) -> list[Page]:
    other = fresh_url(payload, rng)
    return [_redirect(url, other, rng), _redirect(other, url, rng)]


def _private(url: str, payload: Payload, rng: Random) -> list[Page]:
    return [_redirect(url, rng.choice(_PRIVATE).format(n=rng.randrange(10**6)), rng)]


def _file(url: str, payload: Payload, rng: Random) -> list[Page]:
    return [_redirect(url, "file:///etc/passwd", rng)]


_REDIRECTS = {
    Trouble.redirect_chain: _chain,
    Trouble.redirect_loop: _loop,
    Trouble.redirect_private: _private,
    Trouble.redirect_file: _file,
}
