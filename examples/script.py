"""A plain script: many texts in one call, in their order, with those that failed told apart."""

import sys

from rpc import Client, PartialFailure


def main(texts: list[str]) -> int:
    """Print how long each vector is; return 1 if a text failed."""
    with Client() as client:
        try:
            vectors, failed = client.embed_texts(texts, model="bge-m3", lane="bulk", timeout_s=600), {}
        except PartialFailure as partial:
            vectors, failed = partial.vectors, partial.failed
    for place, text in enumerate(texts):
        sys.stdout.write(f"{text}: {failed.get(place) or len(vectors[place])}\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
