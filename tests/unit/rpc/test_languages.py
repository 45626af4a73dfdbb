"""Languages by code, tag and name: Whisper's code of each, and OpenAI's name of each code."""

import pytest
from faster_whisper.tokenizer import _LANGUAGE_CODES
from transformers.models.whisper.tokenization_whisper import LANGUAGES

from rpc.languages import NAMES, code_of, name_of

SPELLINGS = {
    "de": [
        "de",
        "DE",
        " de",
        "de ",
        "de-DE",
        "de_AT",
        "de_DE.UTF-8",
        "de@euro",
        "de-CH-1996",
        "deu",
        "ger",
        "German",
        "Deutsch",
    ],
    "en": ["en-US", "en_GB", "eng", "english", "ENGLISH", "en-GB-oed", "en-x-private", "American English", "en us"],
    "zh": [
        "zh-TW",
        "zh_CN",
        "zh-Hant-HK",
        "cmn",
        "cmn-Hans-CN",
        "zho",
        "chi",
        "Mandarin",
        "Chinese (Simplified)",
        "Chinese Simplified",
    ],
    "yue": ["yue", "yue-Hant-HK", "zh-yue", "zh_yue-HK", "Cantonese"],
    "pt": ["pt-BR", "pt_PT", "por", "Portuguese (Brazil)", "Brazilian Portuguese"],
    "he": ["he", "iw", "he-IL", "iw_IL", "heb", "hebrew"],
    "jw": ["jw", "jv", "jav", "javanese", "jv-ID"],
    "no": ["no", "nb", "nob", "nor", "nb-NO", "norwegian", "Norwegian Bokmål", "Bokma\u030al", "no-bok"],
    "nn": ["nn", "nno", "nn-NO", "no-nyn", "Nynorsk"],
    "tl": ["tl", "fil", "fil-PH", "tgl", "Filipino", "tagalog"],
    "id": ["id", "in", "ind", "in_ID", "Indonesian"],
    "yi": ["yi", "ji", "yid"],
    "ro": ["ro", "mo", "ron", "rum", "Moldovan"],
    "fa": ["fa", "prs", "pes", "fas", "per", "farsi", "fa-AF"],
    "sr": ["sr", "sr-Latn-RS", "srp", "sh"],
    "ht": ["ht", "hat", "haitian creole", "Haitian  Creole"],
    "es": ["es", "es-419", "spa", "Castilian", "Spanish; Castilian"],
    "el": ["el", "ell", "gre", "Greek"],
    "ar": ["ar", "ar-EG", "arz", "arb"],
    "fr": ["Français", "Franc\u0327ais", "francais", "Canadian French", "<|fr|>", "fr ca"],
    "ja": ["日本語", "<|ja|>"],
    "ko": ["한국어", "\u1112\u1161\u11ab\u1100\u116e\u11a8\u110b\u1165"],
    "ru": ["Русский"],
    "sw": ["sw", "swh", "swa", "Kiswahili"],
}


@pytest.mark.parametrize(("code", "spelling"), [(code, each) for code, all_ in SPELLINGS.items() for each in all_])
def test_a_language_may_be_spelt_in_many_ways(code: str, spelling: str) -> None:
    """Codes of all parts of ISO 639, tags of BCP 47, locales and English names are Whisper's code."""
    assert code_of(spelling) == code


AUTO = [
    "",
    " ",
    "auto",
    "AUTO",
    "detect",
    "auto-detect",
    "und",
    "mul",
    "multi",
    "null",
    "*",
    "any",
    "default",
    "unknown",
]


@pytest.mark.parametrize("spelling", [*AUTO, "x-default", "x_default"])
def test_no_language_in_particular_is_detected(spelling: str) -> None:
    """Other services' words for detection are no code."""
    assert code_of(spelling) is None


OTHER_CHINESE = ["nan", "nan-TW", "wuu", "hak", "lzh", "zh-min-nan", "zh-nan", "zh-wuu", "zh-hakka"]


@pytest.mark.parametrize("spelling", ["klingon", "xx", "xx-DE", "-", "q", "english-ish german", *OTHER_CHINESE])
def test_what_names_no_language_stays_unknown(spelling: str) -> None:
    """The caller gets it back in the error."""
    assert code_of(spelling) == spelling.lower()


def test_every_language_of_whisper_has_its_name_and_code() -> None:
    """The names are OpenAI's, as Transformers has them, and each means its code."""
    assert NAMES.keys() == set(_LANGUAGE_CODES)
    for code, name in LANGUAGES.items():
        assert (name_of(code), code_of(name), code_of(code)) == (name, code, code)
