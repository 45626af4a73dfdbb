"""Scene: semantic search with a real model."""

import numpy as np

from producers.demo.narration import Narrator, expect
from producers.demo.stage import MODEL, Stage

CORPUS = (
    "A violin is tuned in fifths, from the low G up to the E.",
    "Bread rises because yeast turns sugar into gas.",
    "The ferry to the island leaves every morning at seven.",
    "Salmon swim upstream to lay their eggs where they hatched.",
    "A solar panel makes the most power around noon.",
    "The train to the coast was cancelled because of the storm.",
    "Put a pinch of salt into the water before the pasta goes in.",
    "Through the telescope we could see the rings of Saturn.",
    "Her bicycle had a flat tyre, so she walked to the office.",
    "The library closes at six on Saturdays.",
    "A vaccine teaches the body to recognise a virus.",
    "After the flood the old bridge was rebuilt in stone.",
    "Honeybees dance to tell each other where the flowers are.",
    "The landlord lowered the rent when the heating failed.",
    "The goalkeeper saved a penalty in the last minute.",
    "Interest on the loan is due at the end of each month.",
    "Two toddlers are splashing through puddles after the rain.",
    "The museum shows coins from the Roman empire.",
    "Whoever sleeps too little forgets what they have learned.",
    "Glaciers carve valleys as they slide downhill.",
    "Every password has to be changed after ninety days.",
    "A kettle boils sooner with its lid on.",
    "The gardener prunes the apple trees in late winter.",
    "The orchestra rehearses in the town hall on Mondays.",
)

EXPECTED = {
    "kids playing outside in wet weather": 16,
    "how do insects communicate?": 12,
    "why is rest important for students?": 18,
}
"""Query -> the sentence that answers it. They share no word that tells."""

TOP = 3


def play(stage: Stage, narrator: Narrator) -> None:
    """Embed the corpus in one call and each query in another; the nearest sentences are the answer."""
    narrator.step(
        "Semantic search",
        f"{len(CORPUS)} sentences in one call of embed_texts, then each query in one of embed_text.",
    )
    vectors = stage.client.embed_texts(CORPUS, model=MODEL)
    for query, right in EXPECTED.items():
        scores = vectors @ stage.client.embed_text(query, model=MODEL)
        best = np.argsort(-scores)[:TOP]
        narrator.say(f"“{query}”", style="bold")
        for rank, index in enumerate(best):
            narrator.show(f"{scores[index]:.2f}  {CORPUS[index]}", style="green" if rank == 0 else "")
        expect(
            holds=int(best[0]) == right,
            otherwise=f"“{query}” should have found “{CORPUS[right]}” first",
        )
