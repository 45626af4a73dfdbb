"""The documentation keeps up with the code: what can be set, measured, raised or stored is told, no link is dead."""

import ast
import inspect
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from pydantic import BaseModel, SecretStr

from inference_worker import settings as worker_settings
from inference_worker.metrics import WorkerMetrics
from inference_worker.registry import MODELS
from inference_worker.settings import WorkerSettings
from inference_worker.supervisor.metrics import LaneCollector, SupervisorCollector
from producers.gateway import settings as gateway_settings
from producers.gateway.settings import GatewaySettings
from rpc import codec, errors, keys, scripts
from rpc import settings as redis_settings
from rpc.errors import RpcError
from rpc.keys import LANES, Keys
from rpc.settings import RedisSettings

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md")])
PACKAGES = ("rpc", "inference_worker", "producers")
README_LINES = 120

EXAMPLE = "# docs/protocol.md: a producer from scratch"

SETTINGS: tuple[tuple[type[BaseModel], Mapping[str, tuple[str, ...]]], ...] = (
    (RedisSettings, redis_settings.ENVIRONMENT),
    (WorkerSettings, worker_settings.ENVIRONMENT),
    (GatewaySettings, gateway_settings.ENVIRONMENT),
)
FIELDS = [(model, environment, field) for model, environment in SETTINGS for field in model.model_fields]


def page(name: str) -> str:
    """Return the text of a page of the documentation."""
    return (DOCS / name).read_text("utf-8")


def rows(text: str, *, header: str) -> Iterator[dict[str, str]]:
    """Yield the rows of every table whose first column is called `header`, by column."""
    columns: list[str] | None = None
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")] if line.startswith("|") else None
        if cells is None:
            columns = None
        elif columns is None:
            columns = cells
        elif columns[0] == header and set(line) - set("|- "):
            yield dict(zip(columns, cells, strict=True))


def code(cell: str) -> list[str]:
    """Return what stands between backticks."""
    return re.findall(r"`([^`]+)`", cell)


@pytest.mark.parametrize(("model", "environment", "field"), FIELDS, ids=[field for _, _, field in FIELDS])
def test_every_setting_is_documented(
    model: type[BaseModel], environment: Mapping[str, tuple[str, ...]], field: str
) -> None:
    """The settings page has a row for every field, with every variable it is read from and the default of the code."""
    told = {code(row["field"])[0]: row for row in rows(page("settings.md"), header="field")}

    assert field in told
    assert list(environment[field]) == code(told[field]["environment"])
    default = model.model_fields[field].default
    if isinstance(default, SecretStr):
        default = default.get_secret_value()
    if default == "":
        assert told[field]["default"] == "none"
    elif isinstance(default, str | int | float):
        (shown,) = code(told[field]["default"])
        assert str(default).lower() == shown if isinstance(default, bool) else default == type(default)(shown)
    assert told[field]["meaning"] != ""


def test_the_settings_page_names_nothing_that_is_gone() -> None:
    """What the settings page offers can be set."""
    assert [field for _, _, field in FIELDS] == [
        code(row["field"])[0] for row in rows(page("settings.md"), header="field")
    ]


def metric_names() -> list[str]:
    """Return the names of all metrics a worker serves, as a scrape shows them."""
    registries = (WorkerMetrics().registry, CollectorRegistry())
    registries[1].register(LaneCollector(list))
    registries[1].register(SupervisorCollector(dict, lambda: True))
    families = [family for registry in registries for family in registry.collect()]
    return [f"{family.name}_total" if family.type == "counter" else family.name for family in families]


def test_every_metric_is_documented() -> None:
    """The metrics page has a row for every metric of a worker, and for nothing else."""
    told = [code(row["metric"])[0] for row in rows(page("metrics.md"), header="metric")]

    assert sorted(metric_names()) == sorted(told)


@pytest.mark.parametrize("registry", [WorkerMetrics().registry], ids=["worker"])
def test_every_metric_is_documented_as_what_it_is(registry: CollectorRegistry) -> None:
    """The type and the labels of a metric stand on the page as they are in the code."""
    told = {code(row["metric"])[0].removesuffix("_total"): row for row in rows(page("metrics.md"), header="metric")}

    for collector, names in registry._collector_to_names.items():
        (family,) = collector.collect()
        labels = list(getattr(collector, "_labelnames", ()))
        assert (family.type, labels) == (told[family.name]["type"], code(told[family.name]["labels"])), names


ERRORS = [kind for kind in vars(errors).values() if inspect.isclass(kind) and issubclass(kind, RpcError)]


@pytest.mark.parametrize("kind", ERRORS, ids=lambda kind: kind.code)
def test_every_error_code_is_documented(kind: type[RpcError]) -> None:
    """The errors page has a row for every code, with its class, whose fault it is, and whether to try again."""
    told = {code(row["code"])[0]: row for row in rows(page("errors.md"), header="code")}

    assert kind.code in told
    row = told[kind.code]
    expected = (kind.__name__, kind.fault, "yes" if kind.retryable else "no")
    assert expected == (code(row["class"])[0], row["fault"], row["retryable"])


def key_kinds() -> list[str]:
    """Return one key of every kind there is, spelled with placeholders."""
    holders = {
        "job_id": "<id>",
        "consumer": "<consumer>",
        "prefix": "penstock",
        "client": "<client>",
        "number": "<n>",
        "sink": "<sink>",
        "submit": "<submit>",
    }
    of_model = Keys("penstock", "M")
    kinds = [of_model.stream(lane) for lane in LANES]
    for name, member in vars(Keys).items():
        if isinstance(member, property):
            kinds.append(getattr(of_model, name))
        elif inspect.isfunction(member) and not name.startswith("_") and name != "stream":
            _, *parameters = inspect.signature(member).parameters
            kinds.append(getattr(of_model, name)(*(holders[parameter] for parameter in parameters)))
    shared = [keys.models("penstock"), keys.idempotency("penstock", "<name>")]
    return [*kinds, *shared, keys.reply_channel("penstock", holders["client"])]


def test_every_kind_of_key_is_documented() -> None:
    """The protocol page has a row for every key and channel the code can spell, and for nothing else."""
    told = [code(row["key"])[0] for row in rows(page("protocol.md"), header="key")]

    assert sorted(key_kinds()) == sorted(told)


def test_every_script_is_documented() -> None:
    """The protocol page and the code map name every script that is shipped."""
    told = [code(row["script"])[0] for row in rows(page("protocol.md"), header="script")]

    assert sorted(scripts.NAMES) == sorted(told)
    assert [name for name in scripts.NAMES if f"`{name}`" not in page("architecture.md")] == []


@pytest.mark.parametrize("kind", sorted(codec.ARRAY_TYPES))
def test_every_array_type_is_documented(kind: str) -> None:
    """Whoever writes a client from the protocol page knows every element type an array may have."""
    assert f"`{kind}`" in page("protocol.md").replace("\\|", "|")


@pytest.mark.parametrize("model", MODELS)
def test_every_model_is_documented(model: str) -> None:
    """The models page has a section on every model the project brings."""
    assert f"\n## {model}\n" in page("models.md")


def modules() -> list[str]:
    """Return the path of every module of the three packages."""
    paths = (path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
    return sorted(path.relative_to(ROOT).as_posix() for path in paths)


def test_the_code_map_is_complete() -> None:
    """The code map has a row for every module there is, and for no other."""
    told = [code(row["file"])[0] for row in rows(page("architecture.md"), header="file")]

    assert modules() == sorted(told)


def test_every_fault_of_the_catalogue_has_its_row_and_its_test() -> None:
    """F1 to F34 and what came after stand in the guarantees, each with tests that are there and name their row."""
    faults = list(rows(page("guarantees.md"), header="row"))
    names = [row["row"] for row in faults]

    assert names == [f"F{number}" for number in range(1, max(35, len(names) + 1))]
    for row in faults:
        for test in code(row["test"]):
            file, _, function = test.partition("::")
            source = (ROOT / "tests" / "faults" / file).read_text("utf-8")
            _, found, body = source.partition(f"def {function}(")
            assert found, test
            assert f'"""{row["row"]}: ' in body.partition("\n\n\n")[0], test


def test_the_readme_is_short() -> None:
    """Whoever opens the README reads all of it."""
    assert len((ROOT / "README.md").read_text("utf-8").splitlines()) < README_LINES


@pytest.mark.parametrize("package", PACKAGES)
def test_the_readme_names_every_package(package: str) -> None:
    """The file tree of the README says what each package is for."""
    assert re.search(rf"^{package}/ +\w", (ROOT / "README.md").read_text("utf-8"), re.MULTILINE)


def anchors(text: str) -> set[str]:
    """Return what links can point to within a page: its headings, in lower case, with dashes for blanks."""
    headings = re.findall(r"^#+ (.+)$", re.sub(r"```.*?```", "", text, flags=re.DOTALL), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_relative_link_leads_somewhere(path: Path) -> None:
    """No page points to a file, or to a heading in a page, that is not there."""
    text = re.sub(r"```.*?```", "", path.read_text("utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" in target:
            continue
        name, _, anchor = target.partition("#")
        found = (path.parent / name) if name else path
        assert found.exists(), target
        assert not anchor or anchor in anchors(found.read_text("utf-8")), target


def test_every_decision_is_listed() -> None:
    """A decision that was written down can be found from the list of them."""
    written = sorted(path.name for path in (DOCS / "decisions").glob("[0-9]*.md"))

    assert written == re.findall(r"\]\((\d{4}-[\w-]+\.md)\)", page("decisions/README.md"))


def test_the_changelog_says_what_the_version_brings() -> None:
    """The changelog has a heading for what is not released yet, one for a version, and one for the wire."""
    text = (ROOT / "CHANGELOG.md").read_text("utf-8")

    assert re.search(r"^## \[Unreleased\]", text, re.MULTILINE)
    assert re.search(r"^## \[\d+\.\d+\.\d+\]", text, re.MULTILINE)
    assert re.search(r"^### Wire$", text, re.MULTILINE)


def python_blocks(text: str) -> list[str]:
    """Return the Python examples of a page, without the indentation of the list they may stand in."""
    return [inspect.cleandoc(block) for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL)]


def test_the_protocol_example_needs_redis_and_msgpack_only() -> None:
    """The page has one program marked as the producer from scratch, and it imports nothing of this project."""
    (program,) = [block for block in python_blocks(page("protocol.md")) if block.startswith(EXAMPLE)]
    imported = {
        alias.name.partition(".")[0]
        for node in ast.walk(ast.parse(program))
        if isinstance(node, ast.Import)
        for alias in node.names
    }

    assert not [node for node in ast.walk(ast.parse(program)) if isinstance(node, ast.ImportFrom)]
    assert imported - sys.stdlib_module_names == {"msgpack", "redis"}


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_python_example_can_be_compiled(path: Path) -> None:
    """No example has a slip that Python itself would refuse."""
    for block in python_blocks(path.read_text("utf-8")):
        compile(block, str(path), "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
