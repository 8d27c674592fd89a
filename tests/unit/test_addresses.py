"""Claims about the addresses repositories are fetched from: which are the same, and which may be reached."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.core.addresses import canonical, check_address, is_allowed, is_public, moved, parse, resolve_host
from services.core.errors import InvalidRequest, Unavailable

PUBLIC = ("192.0.32.8", "2606:4700::1111")
HOSTS = {
    "public.example": PUBLIC,
    "private.example": ("10.0.0.5",),
    "mixed.example": (*PUBLIC, "192.168.1.5"),
    "mapped.example": ("::ffff:10.0.0.5",),
    "scoped.example": ("fe80::1%eth0",),
}


def resolve(host):
    """Names of the table, and addresses as themselves."""
    try:
        return (str(ipaddress.ip_address(host)),)
    except ValueError:
        pass
    if host not in HOSTS:
        raise Unavailable(f"host {host!r} can't be resolved")
    return HOSTS[host]


@pytest.mark.parametrize(
    "url",
    [
        "https://example.com/team/app",
        "https://example.com/team/app.git",
        "https://example.com/team/app.git/",
        "https://EXAMPLE.com/Team/App",
        "https://example.com:443/team/app",
        "http://example.com:80/team/app",
        "https://user@example.com/team/app",
        "https://user:token@example.com/team/app",
        "git@example.com:team/app.git",
        "git@example.com:/team/app",
        "ssh://git@example.com/team/app.git",
        "ssh://git@example.com:22/team/app",
    ],
)
def test_addresses_of_one_repository_are_the_same(url):
    assert canonical(url) == "example.com/team/app"


@pytest.mark.parametrize(
    ("url", "form"),
    [
        ("https://example.com:8443/a/b", "example.com:8443/a/b"),
        ("ssh://git@example.com:2222/a/b", "example.com:2222/a/b"),
        ("https://[FD00::1]/a/b", "[fd00::1]/a/b"),
        ("https://example.com/gitlab/group/sub/app", "example.com/gitlab/group/sub/app"),
        ("https://example.com", ""),
        ("https://example.com/.git", ""),
        ("/srv/git/app.git", ""),
        ("file:///srv/git/app.git", ""),
        ("git://example.com/a/b", ""),
        ("javascript:alert(1)", ""),
        ("https://example.com:0/a", ""),
        ("https://example.com:99999/a", ""),
        ("", ""),
    ],
)
def test_other_addresses_differ_or_are_none(url, form):
    assert canonical(url) == form


@given(st.text(max_size=80))
def test_any_text_has_a_form_or_none(text):
    assert isinstance(canonical(text), str)
    assert isinstance(canonical(f"https://{text}/x"), str)


@pytest.mark.parametrize(
    ("source", "url", "new"),
    [
        ("https://example.com/old/app.git", "https://example.com/New/App2.git", "https://example.com/New/App2.git"),
        ("https://example.com/old/app", "https://example.com/new/app.git", "https://example.com/new/app"),
        ("git@example.com:old/app.git", "https://example.com/new/app", "git@example.com:new/app.git"),
        ("ssh://git@example.com:2222/old/app/", "https://example.com/new/app", "ssh://git@example.com:2222/new/app"),
        ("https://example.com/old/app", "https://other.example/new/app", ""),
        ("https://example.com/old/app", "https://example.com/../x", ""),
        ("https://example.com/old/app", "https://example.com/a/$(id)", ""),
        ("https://example.com/old/app", "https://example.com/a b", ""),
        ("https://example.com/old/app", "https://example.com/", ""),
    ],
)
def test_a_source_moves_within_its_host_only(source, url, new):
    assert moved(source, url) == new


@pytest.mark.parametrize("url", ["https://public.example/a/b", "git@public.example:a/b", "ssh://git@public.example/a"])
def test_a_public_host_may_be_reached_at_what_was_checked(url):
    assert check_address(url, resolve=resolve) == PUBLIC


@pytest.mark.parametrize(
    "host",
    [
        "private.example",
        "mixed.example",
        "mapped.example",
        "scoped.example",
        "127.0.0.1",
        "10.1.2.3",
        "172.16.0.1",
        "192.168.0.1",
        "100.64.0.1",
        "169.254.169.254",
        "168.63.129.16",
        "192.0.0.192",
        "0.0.0.0",
        "224.0.0.1",
        "255.255.255.255",
        "[::1]",
        "[::]",
        "[::ffff:10.0.0.1]",
        "[::ffff:7f00:1]",
        "[::7f00:1]",
        "[64:ff9b::a00:1]",
        "[2002:a00:1::]",
        "[fd00::1]",
        "[fe80::1]",
        "[fec0::1]",
        "[fd00:ec2::254]",
        "[ff02::1]",
        "[2001:db8::1]",
    ],
)
@pytest.mark.parametrize("form", ["https://{}/a/b", "https://user@{}:8443/a/b", "ssh://git@{}/a/b", "git@{}:a/b"])
def test_a_host_with_any_address_that_is_not_public_is_refused(host, form):
    with pytest.raises(InvalidRequest, match="not a public address; an operator may allow it with QUARRY_GIT_ALLOW"):
        check_address(form.format(host), resolve=resolve)


@pytest.mark.parametrize(
    "host", ["127.1", "0x7f000001", "0x7f.1", "2130706433", "017700000001", "0177.0.0.1", "010.0.0.1"]
)
def test_short_forms_of_an_address_are_refused_before_anything_resolves_them(host):
    with pytest.raises(InvalidRequest, match="short form of an IPv4 address"):
        check_address(f"https://{host}/a/b", resolve=resolve)


@pytest.mark.parametrize(
    "url",
    [
        "https://localhost./a/b",
        "https://127.0.0.1./a/b",
        "https://exa%6dple.com/a/b",
        "https://example.com\\@10.0.0.1/a/b",
        "https://example.com#@10.0.0.1/a/b",
        "https://example.com?@10.0.0.1/a/b",
        "https://user@10.0.0.1@example.com/a/b",
        "https://example.com:80:80/a/b",
        "https://[::1/a/b",
        "https://[::1%25eth0]/a/b",
        "https://[127.0.0.1]/a/b",
        "https:///a/b",
        "https://-x/a/b",
        f"https://{'a' * 64}.example/a/b",
        f"https://{'a.' * 130}example/a/b",
        "git@:a/b",
        "git@host::a",
        "ftp://example.com/a",
    ],
)
def test_what_programs_could_read_differently_is_refused(url):
    with pytest.raises(InvalidRequest):
        check_address(url, resolve=resolve)


@pytest.mark.parametrize(
    ("host", "message"),
    [
        ("gіthub.com", "write 'xn--gthub-n2e.com'"),
        ("bücher.example", "write 'xn--bcher-kva.example'"),
        ("１２７.0.0.1", "not written in ASCII"),
        ("example。com", "not written in ASCII"),
        ("\ud800.com", "no host has that name"),
    ],
)
def test_a_look_alike_is_refused_with_the_name_it_really_is(host, message):
    with pytest.raises(InvalidRequest, match=message):
        check_address(f"https://{host}/a/b", resolve=resolve)


def test_localhost_is_refused_as_this_machine_resolves_it():
    with pytest.raises(InvalidRequest, match="not a public address"):
        check_address("https://localhost/a/b")


def test_a_host_that_does_not_resolve_is_refused_for_now():
    with pytest.raises(Unavailable, match="can't be resolved"):
        check_address("https://no-such-host.invalid/a/b", resolve=resolve)
    with pytest.raises(Unavailable, match="can't be resolved"):
        resolve_host("no-such-host.invalid")


@pytest.mark.parametrize(
    ("url", "allow", "allowed"),
    [
        ("http://forge.lan/a/b", {"forge.lan"}, True),
        ("https://FORGE.lan:3000/a/b", {"forge.lan"}, True),
        ("https://forge.lan:3000/a/b", {"forge.lan:3000"}, True),
        ("https://forge.lan/a/b", {"forge.lan:443"}, True),
        ("git@forge.lan:a/b", {"forge.lan:22"}, True),
        ("https://10.0.0.5/a/b", {"10.0.0.5"}, True),
        ("https://[fd00::1]:3000/a/b", {"[fd00::1]:3000"}, True),
        ("https://[fd00::1]/a/b", {"fd00::1"}, True),
        ("https://forge.lan:3001/a/b", {"forge.lan:3000"}, False),
        ("https://sub.forge.lan/a/b", {"forge.lan"}, False),
        ("https://forge.lan.evil.example/a/b", {"forge.lan"}, False),
        ("https://user@evil.example/forge.lan", {"forge.lan"}, False),
        ("/forge.lan", {"forge.lan"}, False),
    ],
)
def test_an_allow_list_names_hosts_and_nothing_near_them(url, allow, allowed):
    assert is_allowed(url, allow) is allowed


def test_a_host_on_the_list_is_not_resolved_and_may_be_fetched_by_plain_http():
    assert check_address("http://forge.invalid/a/b", {"forge.invalid"}) == ()
    with pytest.raises(InvalidRequest, match="by plain http; use https"):
        check_address("http://public.example/a/b", resolve=resolve)


@given(st.ip_addresses(v=4))
def test_an_ipv4_address_is_as_public_in_every_form_of_ipv6(address):
    number = int(address)
    mapped, translated, tunnelled = (0xFFFF << 32 | number, (0x64FF9B << 96) | number, 0x2002 << 112 | number << 80)

    for form in (mapped, translated, tunnelled):
        assert is_public(str(ipaddress.IPv6Address(form))) == is_public(str(address))
    assert not (is_public(str(address)) and (address.is_private or address.is_multicast or address.is_link_local))


def test_an_address_has_parts():
    address = parse("ssh://git@[FD00::1]:2222/team/app.git")

    assert (address.scheme, address.host, address.port, address.path) == ("ssh", "fd00::1", 2222, "team/app.git")
    assert address.host_and_port == "[fd00::1]:2222"
