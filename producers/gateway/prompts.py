"""The prompt that a request asks a model to put in front of its texts, as an option of the job. Pure."""

from collections.abc import Mapping, Sequence

from producers.gateway.problems import Problem, Refused

SEPARATOR = ","


def prompt_options(
    model: str, announced: Sequence[Mapping[str, str]], *, prompt: str | None, prompt_name: str | None
) -> dict[str, str]:
    """Return the options of the job; none if the request asks for no prompt.

    `announced` is what the live workers of the model say of it. Raises `Refused` naming the field if the model has no
    prompts, none of that name, or if both fields are set.
    """
    asked = {name: text for name, text in (("prompt", prompt), ("prompt_name", prompt_name)) if text is not None}
    if not asked:
        return {}
    field = next(reversed(asked))
    if len(asked) > 1:
        raise _refused(field, "prompt and prompt_name exclude each other, got both")
    names = [name for about in announced for name in about.get("prompts", "").split(SEPARATOR) if name]
    if not names:
        raise _refused(field, f"{model} has no prompts, got {field}")
    if prompt_name is not None and prompt_name not in names:
        expected = ", ".join(dict.fromkeys(names))
        raise _refused(field, f"prompt_name must be one of {expected} for {model}, got {prompt_name!r:.100}")
    return asked


def _refused(field: str, text: str) -> Refused:
    return Refused(Problem(422, "invalid_input", text, param=field))
