"""One strict reading of a URL: what is checked is what is asked for."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.download.reasons import Refusal
from stages.download.url import Target, join, parse


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("http://Example.COM", "http://example.com/"),
        ("HTTPS://example.com:443/a", "https://example.com/a"),
        ("http://example.com:8080/a?b=c#frag", "http://example.com:8080/a?b=c"),
        ("http://example.com?q", "http://example.com/?q"),
        ("  http://example.com/a b\n", "http://example.com/a%20b"),
        ("http://example.com/é?ü=%20", "http://example.com/%C3%A9?%C3%BC=%20"),
        ("http://bücher.example./x", "http://xn--bcher-kva.example/x"),
        ("http://foo_bar-.example/", "http://foo_bar-.example/"),
        ("http://134744072/", "http://8.8.8.8/"),
        ("http://0x8.8.010.8/", "http://8.8.8.8/"),
        ("http://[2606:4700:0:0::1111]:81/", "http://[2606:4700::1111]:81/"),
        ("http://example.com:/", "http://example.com/"),
        ("http://example.com/a@b:c\\d", "http://example.com/a@b:c%5Cd"),
    ],
)
def test_a_url_is_made_canonical(text: str, url: str) -> None:
    found = parse(text)
    assert isinstance(found, Target)
    assert found.url == url


@pytest.mark.parametrize(
    ("text", "detail"),
    [
        (None, "empty"),
        (" \t", "empty"),
        ("http://a.example/" + "x" * 9000, "too long"),
        ("http://a.example/\x00", "control character"),
        ("http://a.ex\nample/", "control character"),
        ("//a.example/", "no scheme"),
        ("http:a.example", "no host"),
        ("http:///path", "no host"),
        ("http://a:b@c.example/", "user information"),
        ("http://a\\b/", "backslash in the host"),
        ("http://a..example/", "host name"),
        ("http://" + "a" * 64 + ".example/", "host name"),
        ("http://a%2eexample/", "host name"),
        ("http://xn--\u2603\u200b\ufffe/", "host name"),
        ("http://1.2.3.4.5/", "IPv4 address"),
        ("http://256.1.1.1/", "IPv4 address"),
        ("http://1_0.0.0.1/", "IPv4 address"),
        ("http://a.example.09/", "IPv4 address"),
        ("http://[::1/", "IPv6 address"),
        ("http://[fe80::1%25eth0]/", "IPv6 zone"),
        ("http://[::1]x/", "port"),
        ("http://a.example:0/", "port"),
        ("http://a.example:65536/", "port"),
        ("http://a.example:8０/", "port"),
        ("http://a.example:-1/", "port"),
    ],
)
def test_what_is_no_url_is_refused_with_the_cause(text: str | None, detail: str) -> None:
    found = parse(text)
    assert isinstance(found, Refusal)
    assert (found.reason, found.detail) == ("bad_url", detail)


@settings(deadline=None)
@given(st.text(alphabet=st.sampled_from("htp:/\\@?#[]%.-_0x12789abé。１ \t"), max_size=40) | st.text(max_size=60))
def test_no_text_breaks_the_reader_and_reading_twice_changes_nothing(text: str) -> None:
    for candidate in (text, f"http://{text}"):
        found = parse(candidate)
        if isinstance(found, Target):
            assert parse(found.url) == found
            assert found.url.isascii()
        assert isinstance(join("http://a.example/b", candidate), Target | Refusal)


@pytest.mark.parametrize(
    ("location", "url"),
    [
        ("c", "http://a.example/x/c"),
        ("/c", "http://a.example/c"),
        ("../c", "http://a.example/c"),
        ("//b.example/c", "http://b.example/c"),
        ("https://b.example", "https://b.example/"),
        ("?q", "http://a.example/x/b?q"),
    ],
)
def test_a_location_is_joined_to_where_it_came_from(location: str, url: str) -> None:
    found = join("http://a.example/x/b?y", location)
    assert isinstance(found, Target)
    assert found.url == url
