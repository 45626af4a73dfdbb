"""What `import rpc` brings into a caller's process."""

import json
import subprocess
import sys

from tests.waiting import LONG_S
from tests.workers import ROOT, environment

IMPORTED = """
import json, sys
import rpc, rpc.model_service
print(json.dumps(sorted({name.partition(".")[0] for name in sys.modules})))
"""

NEVER = {"PIL", "torch", "transformers", "tokenizers", "faster_whisper", "ctranslate2", "cv2", "av", "onnx", "httpx"}


def test_importing_the_clients_brings_neither_pillow_nor_models() -> None:
    """Pillow is imported when a picture is first given, what models need never."""
    ended = subprocess.run(
        [sys.executable, "-c", IMPORTED],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=LONG_S,
        check=True,
    )

    assert NEVER & set(json.loads(ended.stdout)) == set()
