"""Progress bars show text that is not the program's own as it is."""

from producers.tables import progress


def test_progress_shows_a_name_that_looks_like_markup() -> None:
    """A file may be named so."""
    bar = progress()
    bar.add_task("transcribing [bold].wav", total=1)

    assert str(bar.columns[0](bar.tasks[0])) == "transcribing [bold].wav"
