"""What may be named by reference: how URLs are read, and which prefixes admit which."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inference_worker import addresses
from inference_worker.addresses import Address, LocalFile, Prefix
from rpc.errors import InvalidInput

ADMITTED = [
    ("s3://videos", "s3://videos/a.wav", "s3://videos/a.wav"),
    ("s3://videos/", "s3://videos/talks/2024/a b.wav", "s3://videos/talks/2024/a b.wav"),
    ("s3://videos/talks", "S3://videos/talks/a.wav", "s3://videos/talks/a.wav"),
    ("s3://videos", "s3://videos/..a/b../...", "s3://videos/..a/b../..."),
    ("s3://videos", "s3://videos/..;/a", "s3://videos/..;/a"),
    ("https://files.example", "https://files.example/a;v=1/...;x", "https://files.example/a;v=1/...;x"),
    ("s3://videos", "s3://videos/100%25.wav", "s3://videos/100%25.wav"),
    ("s3://videos", "s3://videos/도서관@2.wav", "s3://videos/도서관@2.wav"),
    ("gs://bucket/clips", "gs://bucket/clips/x", "gs://bucket/clips/x"),
    ("HTTPS://Files.example/a", "https://FILES.example/a/b?sig=1", "https://files.example/a/b?sig=1"),
    ("http://minio:9000/videos", "http://minio:9000/videos/a", "http://minio:9000/videos/a"),
]


@pytest.mark.parametrize(("prefix", "url", "opened"), ADMITTED, ids=[url for _, url, _ in ADMITTED])
def test_what_lies_under_a_prefix_is_admitted(prefix: str, url: str, opened: str) -> None:
    """Scheme and host in any case where that makes no difference, and any name that leads nowhere else."""
    address = addresses.read(url)

    assert isinstance(address, Address)
    assert Prefix.of(prefix).admits(address)
    assert opened == address.url


ELSEWHERE = [
    ("s3://videos", "s3://videos-private/a.wav"),
    ("s3://videos", "s3://video/a.wav"),
    ("s3://videos", "s3://Videos/a.wav"),
    ("s3://videos", "gs://videos/a.wav"),
    ("s3://videos", "s3a://videos/a.wav"),
    ("s3://videos/talks", "s3://videos/talks-private/a.wav"),
    ("s3://videos/talks", "s3://videos/Talks/a.wav"),
    ("s3://videos/talks", "s3://videos/talks%2Fa.wav"),
    ("s3://videos/talks", "s3://videos/talks"),
    ("https://files.example/a", "http://files.example/a/b"),
    ("https://files.example/a", "https://files.example.evil.example/a/b"),
    ("https://files.example/a", "https://files.example:8443/a/b"),
    ("https://files.example/a", "https://files.example./a/b"),
    ("https://files.example/a", "https://files.example/b?/a/"),
    ("https://files.example/a", "http://169.254.169.254/latest/meta-data/iam"),
]


@pytest.mark.parametrize(("prefix", "url"), ELSEWHERE, ids=[url for _, url in ELSEWHERE])
def test_what_lies_elsewhere_is_not_admitted(prefix: str, url: str) -> None:
    """Another scheme, host or port, and names that merely begin alike."""
    address = addresses.read(url)

    assert isinstance(address, Address)
    assert not Prefix.of(prefix).admits(address)


HOSTILE = [
    "",
    "a.wav",
    "/etc/passwd",
    "//videos/a",
    "s3:",
    "s3:/",
    "s3:videos/a",
    "s3://",
    "s3:///videos/a",
    "s3://videos",
    "s3://videos/",
    "s3://videos/a/",
    "s3://videos//a",
    "s3://videos/a//b",
    "s3://videos/%2Fa",
    "s3://videos/./a",
    "s3://videos/../private/a",
    "s3://videos/a/..",
    "s3://videos/%2e%2e/private",
    "s3://videos/%2E./private",
    "s3://videos/..%2fprivate",
    "s3://videos/%252e%252e/private",
    "s3://videos/%25252e%25252e%25252fprivate",
    "s3://videos/a%5c..%5cb",
    "s3://videos/a%00.wav",
    "s3://videos/a%0d%0aHost:x",
    "s3://videos/%c0%ae%c0%ae/private",
    "s3://videos\\@private/a",
    "s3://videos/..\\private",
    "s3://videos/a\x00",
    "s3://videos/a\n",
    "s3://videos/a\x7f",
    "s3://videos/a\x85",
    "\ts3://videos/a",
    " s3://videos/a",
    "s3 ://videos/a",
    "s3://videos /a",
    "s3://key:secret@videos/a",
    "s3://videos@private/a",
    "s3://videos:80:80/a",
    "s3://v%69deos/a",
    "s3://vidéos/a",
    "s3://.videos/a",
    "s3://videos/a?versionId=1",
    "s3://videos/a#b",
    "https://files.example/a#b",
    "https://files.example@169.254.169.254/a",
    "https://files.example/a/..;/private",
    "https://files.example/a/..;v=1/private",
    "https://files.example/a/.;/private",
    "http://files.example/a/%2e%2e%3bx/private",
    "http://files.example/a/..%253B/private",
    "https://[::1]/a",
    "https://[fe80:0:0:0:0:0:0:1]/a",
    "https:files.example/a",
    "simplecache::s3://videos/a",
    "s3://videos/a::file:///etc/passwd",
    "zip://a::s3://videos/b.zip",
    "file:",
    "file:/",
    "file://",
    "file:///",
    "file:..",
    "file:../a",
    "file:a/../../b",
    "file:a/%2e%2e/%2E./b",
    "file:a%2F..%2F..%2Fb",
    "file:a/..",
    "FILE:../a",
    "file://server/share/a",
    "file://127.0.0.1/a",
    "file://localhost:80/a",
    "file://user@localhost/a",
    "file:a?b",
    "file:a#b",
    "file:a%00b",
    "file:a%0ab",
    "file:a\x00",
    "file:..\\..\\a",
]


@pytest.mark.parametrize("url", HOSTILE)
def test_what_could_lead_elsewhere_is_refused(url: str) -> None:
    """Traversal in every spelling, chains, users, control characters, and what is no URL at all."""
    with pytest.raises(InvalidInput):
        addresses.read(url)


LOCAL = [
    ("file:a.wav", "a.wav"),
    ("file:talks/a.wav", "talks/a.wav"),
    ("FILE:a%20b.wav", "a b.wav"),
    ("file:a%2520b.wav", "a%20b.wav"),
    ("file:a%3Fb%23c", "a?b#c"),
    ("file:///srv/media/a.wav", "/srv/media/a.wav"),
    ("file:/srv/media/a.wav", "/srv/media/a.wav"),
    ("file://localhost/srv/a", "/srv/a"),
    ("file:%252e%252e/a", "%2e%2e/a"),
    ("file:...", "..."),
    ("file:도서관", "도서관"),
]


@pytest.mark.parametrize(("url", "path"), LOCAL)
def test_a_file_url_is_decoded_once(url: str, path: str) -> None:
    """What is still encoded then is the name of a file."""
    assert LocalFile(path) == addresses.read(url)


@pytest.mark.parametrize(
    "prefix",
    [
        *("", "videos", "s3:", "s3://", "s3:///videos", "file:///srv", "FILE:///srv", "local:///srv"),
        *("s3://user:secret@videos", "s3://videos/../x", "s3://videos/a//b", "s3://videos?x", "https://h/a#b"),
        *("simplecache::s3://videos", "reference://x/", "generic://x/", "data:,x", "s3://*/", "https://*.example/"),
        *("https://h/%2e%2e/", "s3://videos/\\"),
    ],
)
def test_a_prefix_that_could_mean_more_is_refused(prefix: str) -> None:
    """Files of the machine, chains, filesystems that open others, users, patterns."""
    with pytest.raises(ValueError, match="'"):
        Prefix.of(prefix)


@pytest.mark.parametrize("prefix", ["s3://videos", "s3://videos/", "s3://videos///"])
def test_a_prefix_ends_at_a_boundary(prefix: str) -> None:
    """With a slash or without, it is the same."""
    assert str(Prefix.of(prefix)) == "s3://videos/"


PIECES = st.sampled_from([*"a.:/%@?#\\", "..", "%2e", "%2f", "%25", "%5c", "::", "videos", "private", "\n", "é"])


@settings(max_examples=500)
@given(st.lists(PIECES, max_size=12).map("".join))
def test_nothing_admitted_leaves_its_prefix(rest: str) -> None:
    """Whatever is put behind the prefix, decoded however often, is refused or stays below it."""
    try:
        address = addresses.read(f"https://h/videos{rest}")
    except InvalidInput:
        return
    assert isinstance(address, Address)
    if not Prefix.of("https://h/videos").admits(address):
        return
    path = address.path
    for _ in range(4):
        assert path.startswith("/videos/")
        assert not {"", ".", ".."} & set(path.split("/")[1:])
        path = path.replace("%2e", ".").replace("%2f", "/").replace("%5c", "\\").replace("%25", "%")
