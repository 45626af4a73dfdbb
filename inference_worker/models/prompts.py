"""The prompts of a sentence encoder: texts put in front of what is embedded, chosen by name."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from inference_worker.models.base import InvalidInput
from inference_worker.models.settings_file import SettingsFile

ALWAYS = {"query": "", "document": ""}
"""Prompts every encoder has, as in sentence-transformers: empty unless its directory sets them."""


@dataclass(frozen=True, slots=True)
class Prompts:
    """Prompts by name, and the name of the one that is used where a caller chooses none, or ""."""

    texts: Mapping[str, str]
    default: str = ""

    @classmethod
    def of(cls, settings: SettingsFile) -> "Prompts":
        """Return the prompts of a directory's `config_sentence_transformers.json`; raise `ValueError` on wrong ones."""
        stored = settings.section("prompts")
        texts = {**ALWAYS, **{name: text for name, text in stored.items() if text is not None}}
        if not all(isinstance(text, str) for text in texts.values()):
            raise settings.wrong("prompts", "a map of texts")
        default = settings.values.get("default_prompt_name") or ""
        if default and default not in texts:
            raise settings.wrong("default_prompt_name", f"one of {', '.join(texts)}")
        return cls(texts, default)

    def choose(self, options: Mapping[str, Any], *, max_chars: int) -> str:
        """Return the prompt that the options `prompt` and `prompt_name` ask for, else the default one, else "".

        Raises `InvalidInput` if both are set, or one is of the wrong type, unknown or too long.
        """
        prompt, name = options.get("prompt"), options.get("prompt_name")
        if prompt is not None and name is not None:
            raise InvalidInput("options prompt and prompt_name exclude each other, got both")
        if prompt is not None:
            return self._checked(prompt, max_chars)
        if name is None:
            return self.texts[self.default] if self.default else ""
        if not isinstance(name, str) or name not in self.texts:
            raise InvalidInput(f"option prompt_name must be one of {', '.join(self.texts)}, got {name!r:.100}")
        return self.texts[name]

    @staticmethod
    def _checked(prompt: Any, max_chars: int) -> str:
        if not isinstance(prompt, str):
            raise InvalidInput(f"option prompt must be a text, got a {type(prompt).__name__}")
        if len(prompt) > max_chars:
            raise InvalidInput(f"option prompt must have at most {max_chars} characters, got {len(prompt)}")
        try:
            prompt.encode()
        except UnicodeEncodeError as error:
            raise InvalidInput(f"option prompt has a lone surrogate at {error.start}") from None
        return prompt
