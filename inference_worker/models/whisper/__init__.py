"""Whisper through faster-whisper and CTranslate2: windows of several jobs in one encoder and decoder pass."""

from inference_worker.models.whisper.model import Whisper

__all__ = ["Whisper"]
