"""A BGE-M3 of two layers that knows some words in seven languages: "the cat" is near "die Katze", by hand-made weights.

Of the 64 numbers of a token 60 are its meaning, which words of one concept share; the last four are two pairs: one
marks the beginning and the end, one says how much a word matters. The first layer lets each token see the mean of
all, weighted by that; the sparse head reads it.
"""

from pathlib import Path
from typing import Any

import torch
from transformers import XLMRobertaConfig, XLMRobertaModel, XLMRobertaTokenizer

from inference_worker.standins import noise

VERSION = 1

SEED = 11
DIMENSION = 64
HEADS = 2
POSITIONS = 8194
MEANING, EDGE, WEIGHT = slice(0, 60), slice(60, 62), slice(62, 64)
DAMPED = 0.1
"""What the marks are scaled by before the first layer, so that the meaning outweighs them."""

LIFT = 8.0
"""How strongly weight draws attention: a word that matters then counts 25 times as much as one that does not."""

ACCENT = 0.2
"""How far words of one concept lie from it."""

CONCEPTS = """
cat chat Katze gato gatto кошка 猫
dog chien Hund perro cane собака 犬
bird birds oiseau Vogel Vögel pájaro uccello птица 鳥
house maison Haus casa дом 家
roof toit Dach tejado tetto крыша 屋根
water eau Wasser agua acqua вода 水
fire feu Feuer fuego fuoco огонь 火
sun soleil Sonne sol sole солнце 太陽
moon lune Mond luna луна 月
sea mer Meer mar mare море 海
city ville Stadt ciudad città город 都市
street rue Straße calle strada улица 道
train Zug tren treno поезд 電車
book livre Buch libro книга 本
bread pain Brot pan pane хлеб パン
music musique Musik música musica музыка 音楽
child children enfant enfants Kind Kinder niño bambino ребёнок 子供
girl girls fille Mädchen niña ragazza девочка 少女
man men homme Mann hombre uomo мужчина 男
woman women femme Frau mujer donna женщина 女
red rouge rot rote rojo rosso красный 赤い
blue bleu blau blaue azul blu синий 青い
green vert grün verde зелёный 緑
big large grand groß große grande большой 大きい
small little petit klein kleine pequeño piccolo маленький 小さい
sleeps sleep dort schläft duerme dorme спит 寝る
eats eat mange isst come mangia ест 食べる
runs run court läuft corre бежит 走る
reads read lit liest lee legge читает 読む
sings sing chante singt canta поёт 歌う
queue queues file Warteschlange cola coda очередь 行列
hello bonjour hallo hola ciao привет こんにちは
thanks merci danke gracias grazie спасибо ありがとう
capital capitale Hauptstadt столица 首都
France Frankreich Francia Франция フランス
Paris París Parigi Париж パリ
"""
"""A line each: words of one meaning."""

LITTLE = """
the a an of in on at and or to is are was with for from it that this what which who we you I he she they
le la les un une des de du dans sur et ou à est sont avec pour que qui
der die das ein eine einen im auf und oder zu ist sind mit für von dem den
el los las una y o en es son con por para
il lo gli uno nel sul e è sono per di
и в на для это что の は が を に で と です
"""
"""Words that say little."""

LETTERS = (
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789àâäáãåæçéèêëíìîïñóòôöõøœúùûüýßÀÄÁÇÉÈÖÓÜÚÑ"
    "абвгдеёжзийклмнопрстуфхцчшщъыьэюяАБВГДЕЁЖЗИЙКЛМНОПРСТУФХЦЧШЩЭЮЯ"
)
SIGNS = "▁.,:;!?¿¡'\"()[]{}<>/\\|@#$%&*+-=_~^`°€…—“”„«»、。"
SPECIAL = ("<s>", "<pad>", "</s>", "<unk>")
LETTER_SCORE = -8.0


def build(directory: Path) -> None:
    """Write the directory of a BGE-M3: tokenizer, pickled weights and heads, as they are published."""
    pieces = _pieces()
    tokenizer: Any = XLMRobertaTokenizer(vocab=[*pieces, ("<mask>", 0.0)], model_max_length=POSITIONS - 2)
    tokenizer.save_pretrained(directory)
    config = _config(len(tokenizer))
    model: Any = XLMRobertaModel(config, add_pooling_layer=False)
    noise.fill(model, seed=SEED)
    with torch.no_grad():
        _make_embeddings(model.embeddings, [piece for piece, _ in pieces])
        _gather(model.encoder.layer[0].attention)
    config.save_pretrained(directory)
    torch.save(model.state_dict(), directory / "pytorch_model.bin")
    torch.save(_sparse_head().state_dict(), directory / "sparse_linear.pt")
    torch.save(_colbert_head().state_dict(), directory / "colbert_linear.pt")


def _pieces() -> list[tuple[str, float]]:
    """Return all pieces but the last, `<mask>`, each with its score: whole words before letters."""
    words = [
        f"{start}{form}" for line in (*_concepts(), LITTLE.split()) for word in line for start, form in _forms(word)
    ]
    letters = [letter for letter in (*LETTERS, *SIGNS) if letter not in words]
    scored = [(piece, -1.0) for piece in dict.fromkeys(words)] + [(letter, LETTER_SCORE) for letter in letters]
    return [(piece, 0.0) for piece in SPECIAL] + scored


def _concepts() -> list[list[str]]:
    return [line.split() for line in CONCEPTS.split("\n") if line]


def _forms(word: str) -> list[tuple[str, str]]:
    """Return how a word is written: after a blank, also capitalised; Japanese has no blanks."""
    if word[0] >= "\u3000":
        return [("", word)]
    return [("▁", word), ("▁", word[0].upper() + word[1:])]


def _config(words: int) -> XLMRobertaConfig:
    return XLMRobertaConfig(
        architectures=["XLMRobertaModel"],
        vocab_size=words,
        hidden_size=DIMENSION,
        num_hidden_layers=2,
        num_attention_heads=HEADS,
        intermediate_size=2 * DIMENSION,
        max_position_embeddings=POSITIONS,
        type_vocab_size=1,
        layer_norm_eps=1e-5,
    )


def _make_embeddings(embeddings: Any, pieces: list[str]) -> None:
    chance = torch.Generator().manual_seed(SEED)
    words = embeddings.word_embeddings.weight
    words[:, MEANING] = torch.randn(len(words), MEANING.stop, generator=chance)
    words[:, EDGE] = 0.0
    words[:, WEIGHT] = 0.0
    numbers = {piece: number for number, piece in enumerate(pieces)}
    for concept in _concepts():
        meaning = torch.randn(MEANING.stop, generator=chance)
        for piece in _written(concept):
            words[numbers[piece], MEANING] = meaning + ACCENT * words[numbers[piece], MEANING]
            words[numbers[piece], WEIGHT] = torch.tensor([1.0, -1.0])
    for piece in (*_written(LITTLE.split()), *SIGNS):
        words[numbers[piece], WEIGHT] = torch.tensor([-1.0, 1.0])
    for edge in ("<s>", "</s>"):
        words[numbers[edge]] = 0.0
        words[numbers[edge], EDGE.start :] = torch.tensor([1.0, -1.0, -1.0, 1.0])
    words[numbers["<pad>"]] = 0.0
    embeddings.position_embeddings.weight[numbers["<pad>"]] = 0.0
    embeddings.LayerNorm.weight[EDGE.start :] = DAMPED


def _written(words: list[str]) -> list[str]:
    return [start + form for word in words for start, form in _forms(word)]


def _gather(attention: Any) -> None:
    """Let each token see the mean of all, weighted by how much they matter."""
    own = attention.self
    for part in (own.query, own.key, own.value, attention.output.dense):
        part.weight.zero_()
        part.bias.zero_()
    width = DIMENSION // HEADS
    for head in range(HEADS):
        own.query.bias[head * width] = LIFT * width**0.5
        own.key.weight[head * width, WEIGHT] = torch.tensor([1.0, -1.0])
    meaning = torch.arange(MEANING.stop)
    own.value.weight[meaning, meaning] = 1.0
    attention.output.dense.weight[meaning, meaning] = 1.0


def _sparse_head() -> torch.nn.Linear:
    head = torch.nn.Linear(DIMENSION, 1)
    with torch.no_grad():
        head.weight.zero_()
        head.weight[0, WEIGHT] = torch.tensor([1.0, -1.0])
        head.bias.fill_(0.05)
    return head


def _colbert_head() -> torch.nn.Linear:
    head = torch.nn.Linear(DIMENSION, DIMENSION)
    with torch.no_grad():
        head.weight.copy_(torch.eye(DIMENSION))
        head.bias.zero_()
    return head
