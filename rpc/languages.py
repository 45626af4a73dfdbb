"""Languages as callers name them, and as answers name them. Pure.

A language is a code of ISO 639-1, -2 or -3, a tag of BCP 47 (`pt-BR`), a locale (`de_DE.UTF-8`), an English name, or
the own name of a common language (`Deutsch`). Chinese languages other than Mandarin and Cantonese are other languages
than `zh`, under a code of their own (`nan`) as much as in a tag (`zh-min-nan`): a model of Mandarin mishears them.
"""

import re
import unicodedata
from collections.abc import Mapping

NAMES: Mapping[str, str] = {
    "af": "afrikaans",
    "am": "amharic",
    "ar": "arabic",
    "as": "assamese",
    "az": "azerbaijani",
    "ba": "bashkir",
    "be": "belarusian",
    "bg": "bulgarian",
    "bn": "bengali",
    "bo": "tibetan",
    "br": "breton",
    "bs": "bosnian",
    "ca": "catalan",
    "cs": "czech",
    "cy": "welsh",
    "da": "danish",
    "de": "german",
    "el": "greek",
    "en": "english",
    "es": "spanish",
    "et": "estonian",
    "eu": "basque",
    "fa": "persian",
    "fi": "finnish",
    "fo": "faroese",
    "fr": "french",
    "gl": "galician",
    "gu": "gujarati",
    "ha": "hausa",
    "haw": "hawaiian",
    "he": "hebrew",
    "hi": "hindi",
    "hr": "croatian",
    "ht": "haitian creole",
    "hu": "hungarian",
    "hy": "armenian",
    "id": "indonesian",
    "is": "icelandic",
    "it": "italian",
    "ja": "japanese",
    "jw": "javanese",
    "ka": "georgian",
    "kk": "kazakh",
    "km": "khmer",
    "kn": "kannada",
    "ko": "korean",
    "la": "latin",
    "lb": "luxembourgish",
    "ln": "lingala",
    "lo": "lao",
    "lt": "lithuanian",
    "lv": "latvian",
    "mg": "malagasy",
    "mi": "maori",
    "mk": "macedonian",
    "ml": "malayalam",
    "mn": "mongolian",
    "mr": "marathi",
    "ms": "malay",
    "mt": "maltese",
    "my": "myanmar",
    "ne": "nepali",
    "nl": "dutch",
    "nn": "nynorsk",
    "no": "norwegian",
    "oc": "occitan",
    "pa": "punjabi",
    "pl": "polish",
    "ps": "pashto",
    "pt": "portuguese",
    "ro": "romanian",
    "ru": "russian",
    "sa": "sanskrit",
    "sd": "sindhi",
    "si": "sinhala",
    "sk": "slovak",
    "sl": "slovenian",
    "sn": "shona",
    "so": "somali",
    "sq": "albanian",
    "sr": "serbian",
    "su": "sundanese",
    "sv": "swedish",
    "sw": "swahili",
    "ta": "tamil",
    "te": "telugu",
    "tg": "tajik",
    "th": "thai",
    "tk": "turkmen",
    "tl": "tagalog",
    "tr": "turkish",
    "tt": "tatar",
    "uk": "ukrainian",
    "ur": "urdu",
    "uz": "uzbek",
    "vi": "vietnamese",
    "yi": "yiddish",
    "yo": "yoruba",
    "yue": "cantonese",
    "zh": "chinese",
}
"""Code -> English name, as openai-whisper has them."""

_OTHER_NAMES: Mapping[str, str] = {
    "ar": "modern standard arabic",
    "bn": "bangla",
    "ca": "valencian",
    "de": "austrian german, swiss high german",
    "el": "modern greek",
    "en": "american english, australian english, british english, canadian english",
    "es": "castilian, european spanish, latin american spanish, mexican spanish",
    "fa": "farsi, dari",
    "fr": "canadian french, swiss french",
    "ht": "haitian",
    "id": "bahasa indonesia",
    "km": "cambodian",
    "lb": "letzeburgesch",
    "mi": "te reo maori, māori",
    "ms": "bahasa melayu",
    "my": "burmese",
    "ne": "nepalese",
    "nl": "flemish",
    "nn": "norwegian nynorsk",
    "no": "bokmal, bokmål, norwegian bokmal, norwegian bokmål",
    "pa": "panjabi",
    "ps": "pushto, pashtu",
    "pt": "brazilian portuguese, european portuguese",
    "ro": "moldavian, moldovan",
    "si": "sinhalese",
    "sr": "serbo-croatian",
    "sw": "kiswahili",
    "tl": "filipino, pilipino",
    "yue": "cantonese chinese",
    "zh": "mandarin, mandarin chinese, simplified chinese, traditional chinese"
    ", chinese simplified, chinese traditional",
}
"""Code -> further English names, those of CLDR among them."""

_OWN_NAMES: Mapping[str, str] = {
    "ar": "العربية",
    "bg": "български",
    "cs": "čeština",
    "da": "dansk",
    "de": "deutsch",
    "el": "ελληνικά",
    "es": "español, espanol",
    "fa": "فارسی",
    "fi": "suomi",
    "fr": "français, francais",
    "he": "עברית",
    "hi": "हिन्दी, हिंदी",
    "hu": "magyar",
    "it": "italiano",
    "ja": "日本語",
    "ko": "한국어",
    "nl": "nederlands",
    "no": "norsk",
    "pl": "polski",
    "pt": "português, portugues",
    "ro": "română, romana",
    "ru": "русский",
    "sv": "svenska",
    "th": "ไทย",
    "tr": "türkçe, turkce",
    "uk": "українська",
    "vi": "tiếng việt",
    "zh": "中文, 汉语, 漢語, 普通话",
}
"""Code -> a common language's name in itself, as CLDR has it, and without accents."""

_OTHER_CODES: Mapping[str, str] = {
    "af": "afr",
    "am": "amh",
    "ar": "ara arb arz ary acm apc ajp aeb afb arq ars ayl",
    "as": "asm",
    "az": "aze azj azb",
    "ba": "bak",
    "be": "bel",
    "bg": "bul",
    "bn": "ben",
    "bo": "bod tib",
    "br": "bre",
    "bs": "bos",
    "ca": "cat",
    "cs": "ces cze",
    "cy": "cym wel",
    "da": "dan",
    "de": "deu ger",
    "el": "ell gre",
    "en": "eng",
    "es": "spa",
    "et": "est ekk",
    "eu": "eus baq",
    "fa": "fas per pes prs",
    "fi": "fin",
    "fo": "fao",
    "fr": "fra fre",
    "gl": "glg",
    "gu": "guj",
    "ha": "hau",
    "he": "heb iw",
    "hi": "hin",
    "hr": "hrv scr",
    "ht": "hat",
    "hu": "hun",
    "hy": "hye arm hyw",
    "id": "ind in",
    "is": "isl ice",
    "it": "ita",
    "ja": "jpn",
    "jw": "jav jv",
    "ka": "kat geo",
    "kk": "kaz",
    "km": "khm",
    "kn": "kan",
    "ko": "kor",
    "la": "lat",
    "lb": "ltz",
    "ln": "lin",
    "lo": "lao",
    "lt": "lit",
    "lv": "lav lvs",
    "mg": "mlg plt",
    "mi": "mri mao",
    "mk": "mkd mac",
    "ml": "mal",
    "mn": "mon khk",
    "mr": "mar",
    "ms": "msa may zsm zlm",
    "mt": "mlt",
    "my": "mya bur",
    "ne": "nep npi",
    "nl": "nld dut",
    "nn": "nno no-nyn",
    "no": "nor nb nob",
    "oc": "oci",
    "pa": "pan",
    "pl": "pol",
    "ps": "pus pbt pst pbu",
    "pt": "por",
    "ro": "ron rum mo mol",
    "ru": "rus",
    "sa": "san",
    "sd": "snd",
    "si": "sin",
    "sk": "slk slo",
    "sl": "slv",
    "sn": "sna",
    "so": "som",
    "sq": "sqi alb als",
    "sr": "srp scc sh hbs",
    "su": "sun",
    "sv": "swe",
    "sw": "swa swh",
    "ta": "tam",
    "te": "tel",
    "tg": "tgk",
    "th": "tha",
    "tk": "tuk",
    "tl": "tgl fil",
    "tr": "tur",
    "tt": "tat",
    "uk": "ukr",
    "ur": "urd",
    "uz": "uzb uzn",
    "vi": "vie",
    "yi": "yid ydd ji",
    "yo": "yor",
    "zh": "zho chi cmn",
}
"""Code -> codes of ISO 639-2 and -3, former codes, and those of languages that are written as this one."""

EXTENDED = 3
"""Letters of the longest code, and of every extended language."""

DETECTED = frozenset(
    (
        *("", "*", "any", "auto", "auto-detect", "autodetect", "automatic", "default", "detect", "mul", "multi"),
        *("none", "null", "und", "undefined", "unknown", "x-default"),
    )
)
"""Names of no language in particular: it is detected."""

_CODES: Mapping[str, str] = {
    **{code: code for code in NAMES},
    **{other: code for code, others in _OTHER_CODES.items() for other in others.split()},
    **{name: code for code, name in NAMES.items()},
    **{
        unicodedata.normalize("NFC", name): code
        for names_by_code in (_OTHER_NAMES, _OWN_NAMES)
        for code, names in names_by_code.items()
        for name in names.split(", ")
    },
}

_CHINESE = frozenset({"zh", "zho", "chi"})

_OTHER_CHINESE = frozenset(
    "cdo cjy cnp cpx csp czh czo gan hak hakka hsn lzh min mnp nan wuu xiang".split()  # noqa: SIM905 (codes, as above)
)
"""Subtags behind `zh` of languages that are not written as Mandarin."""

_TAG_IN_WORDS = re.compile(r"[a-z]{2,3}( [a-z]{4})?( ([a-z]{2}|[0-9]{3}))?")
"""A tag with blanks between language, script and region: `en us`."""


def code_of(language: str) -> str | None:
    """Return Whisper's code of a language, None if it is to be detected.

    Case, blanks and the difference between `-` and `_` do not count; of a tag only the language does, so `zh-TW` is
    Chinese in whichever script the model writes. Whisper's own token `<|en|>` is taken too. Text that names no known
    language is returned in lower case.
    """
    text = " ".join(unicodedata.normalize("NFC", language).lower().split())
    text = text.removeprefix("<|").removesuffix("|>")
    if _TAG_IN_WORDS.fullmatch(text):
        text = text.replace(" ", "-")
    if text.replace("_", "-").replace(" ", "-") in DETECTED:
        return None
    # "Chinese (Simplified)" and "Spanish; Castilian" name the language first
    name = re.split(r"\s*[(;,]", text, maxsplit=1)[0]
    tag = re.split(r"[.@]", name, maxsplit=1)[0].replace("_", "-")
    language_tag, _, rest = tag.partition("-")
    # an extended language of BCP 47, 2.2.2: the macrolanguage stands in front
    extended = rest.partition("-")[0]
    if len(extended) == EXTENDED and len(language_tag) <= EXTENDED and extended in _CODES:
        return _CODES[extended]
    if language_tag in _CHINESE and extended in _OTHER_CHINESE:
        return text
    for candidate in (text, name, tag, language_tag if len(language_tag) <= EXTENDED else ""):
        if candidate in _CODES:
            return _CODES[candidate]
    return text


def name_of(code: str) -> str:
    """Return the English name of a language in lower case, as OpenAI's API has it; an unknown code as it is."""
    return NAMES.get(code, code)
