"""Progress bars show text that is not the program's own as it is."""

from rich.progress import ProgressColumn

from producers.tables import progress


def test_progress_shows_a_name_that_looks_like_markup() -> None:
    """A file may be named so."""
    bar = progress()
    bar.add_task("transcribing [bold].wav", total=1)
    description = bar.columns[0]

    assert isinstance(description, ProgressColumn)
    assert str(description(bar.tasks[0])) == "transcribing [bold].wav"
