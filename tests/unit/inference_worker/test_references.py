"""Opening what jobs refer to: which place is asked, what is told of each way it fails, and nothing else is opened."""

import errno
from collections.abc import Iterator
from pathlib import Path

import pytest

from inference_worker.media.references import References
from inference_worker.media.stores import judged
from inference_worker.settings import WorkerSettings
from rpc.errors import InvalidInput, RpcError, Unavailable
from rpc.messages import Reference
from rpc.settings import SettingError
from tests.stores import Web

MOST = 100_000


def references(most: int = MOST, **given: object) -> References:
    """Return what opens references as the settings say."""
    return References.of(WorkerSettings.from_env({}, **given), most_bytes=most)


@pytest.fixture(scope="module")
def web() -> Iterator[Web]:
    """Yield a web server with a file under `/open/` and one beside it."""
    files = {"/open/a.wav": b"a talk", "/open/empty": b"", "/secret": b"secret", "/open/full": b"x" * MOST}
    with Web(files | {"/open/large": b"x" * (MOST + 1)}) as running:
        yield running


@pytest.fixture(scope="module")
def opened(web: Web) -> References:
    """Return what opens references under `/open/` of that server."""
    return references(media_prefixes=f"{web.url}/open", media_timeout_s=20)


def test_nothing_is_opened_unless_allowed(tmp_path: Path, web: Web) -> None:
    """Without settings neither a file nor a URL is, and each is told which setting there is."""
    (tmp_path / "a").write_bytes(b"a")
    before = len(web.asked)

    with pytest.raises(
        InvalidInput, match=r"reference 'file:///.*a': this worker opens no files \(PENSTOCK_MEDIA_ROOT"
    ):
        references().read(Reference(f"file://{tmp_path}/a"))
    with pytest.raises(InvalidInput, match=r"no prefix that this worker opens \(PENSTOCK_MEDIA_PREFIXES"):
        references(media_root=str(tmp_path)).read(Reference(f"{web.url}/open/a.wav"))
    assert before == len(web.asked)


def test_files_and_urls_are_opened_where_allowed(tmp_path: Path, web: Web) -> None:
    """Both settings serve side by side."""
    (tmp_path / "a b").write_bytes(b"a file")
    both = references(media_root=str(tmp_path), media_prefixes=f"{web.url}/open/")

    assert both.read(Reference("file:a%20b")) == b"a file"
    assert both.read(Reference(f"{web.url}/open/a.wav?sig=x")) == b"a talk"
    assert both.read(Reference(f"{web.url}/open/empty")) == b""
    assert "/open/a.wav?sig=x" in web.asked


FAILING = [
    ("/open/nothing", InvalidInput, "it is not there"),
    ("/open/status/410", InvalidInput, "it is not there"),
    ("/open/status/403", InvalidInput, "does not permit"),
    ("/open/status/401", InvalidInput, "does not permit"),
    ("/open/status/400", InvalidInput, "answers 400"),
    ("/open/status/429", Unavailable, "answers 429"),
    ("/open/status/500", Unavailable, "answers 500"),
    ("/open/status/503", Unavailable, "answers 503"),
    ("/open/large", InvalidInput, "100001 bytes or more, over the limit of 100000"),
    ("/open/endless", InvalidInput, "over the limit of 100000"),
    ("/open/to/secret", InvalidInput, "answers 302, which is not followed"),
    ("/open/to/open/a.wav", InvalidInput, "answers 302, which is not followed"),
    ("/secret", InvalidInput, "no prefix"),
    ("/open/../secret", InvalidInput, "segment"),
    ("/open/%2e%2e/secret", InvalidInput, "segment"),
]


@pytest.mark.parametrize(("path", "kind", "told"), FAILING, ids=[path for path, _, _ in FAILING])
def test_what_a_web_server_does_is_told_by_type(
    opened: References, web: Web, path: str, kind: type[RpcError], told: str
) -> None:
    """Permanent what is wrong with the reference, passing what is wrong with the server; no query is ever told."""
    with pytest.raises(kind, match=told) as raised:
        opened.read(Reference(f"{web.url}{path}?X-Signature=hidden"))

    assert f"reference '{web.url}{path}': " in str(raised.value)
    assert "hidden" not in str(raised.value)
    assert "/secret" not in web.asked


def test_a_file_of_exactly_the_limit_is_read(opened: References, web: Web) -> None:
    """The limit is what may be, not what may not."""
    assert len(opened.read(Reference(f"{web.url}/open/full"))) == MOST


def test_a_server_that_is_silent_is_given_up(web: Web) -> None:
    """After the time that a store has, as something that may pass."""
    hurried = references(media_prefixes=f"{web.url}/open", media_timeout_s=0.2)

    with pytest.raises(Unavailable, match=r"did not give it within 0\.2 s"):
        hurried.read(Reference(f"{web.url}/open/silence"))
    assert hurried.read(Reference(f"{web.url}/open/a.wav")) == b"a talk"


def test_a_server_that_is_not_there_may_come_back() -> None:
    """A refused connection says nothing of the reference."""
    with Web({}) as gone:
        url = gone.url

    with pytest.raises(Unavailable, match="cannot be reached or fails"):
        references(media_prefixes=url).read(Reference(f"{url}/a"))


TOLD = [
    (FileNotFoundError("s3://b/x?secret"), InvalidInput),
    (PermissionError("secret"), InvalidInput),
    (IsADirectoryError("secret"), InvalidInput),
    (ValueError("secret"), InvalidInput),
    (OSError(errno.EINVAL, "secret"), InvalidInput),
    (OSError(errno.ENAMETOOLONG, "secret"), InvalidInput),
    (OSError(errno.EBUSY, "secret"), Unavailable),
    (OSError(errno.EIO, "secret"), Unavailable),
    (ConnectionRefusedError("secret"), Unavailable),
    (TimeoutError("secret"), Unavailable),
    (RuntimeError("secret"), Unavailable),
]


@pytest.mark.parametrize(("error", "kind"), TOLD, ids=[repr(error) for error, _ in TOLD])
def test_what_libraries_raise_is_told_without_their_words(error: Exception, kind: type[RpcError]) -> None:
    """Their words may hold the request, keys included."""
    told = judged(error, 1.0)

    assert kind is type(told)
    assert "secret" not in str(told)


@pytest.mark.parametrize(
    ("prefixes", "told"),
    [
        ("nonsense://x", "nonsense"),
        ("sftp://host/x", "sftp"),
        ("gs://bucket", "install"),
        ("memory://x", "cannot be ended when its time is up"),
        ("s3://fine, git://x/y", "git://x/y/'"),
    ],
)
def test_a_prefix_that_cannot_be_served_is_refused(prefixes: str, told: str) -> None:
    """By the variable's name, the prefix, and what to install."""
    with pytest.raises(SettingError, match=f"(?i)PENSTOCK_MEDIA_PREFIXES='.*{told}"):
        references(media_prefixes=prefixes)
