"""The novel-view synthesizer: latents of a person from the sides and the back, imagined from one photo and a body.

The ``full`` model is in :mod:`.full`, which is imported only where it is wanted because it needs ``diffusers``.
"""

from .conditions import Conditions, azimuths_of, conditions, label_body
from .config import CONFIGS, FullConfig, SynthesizerConfig
from .network import ViewUNet
from .stage import Synthesizer

__all__ = [
    "CONFIGS",
    "Conditions",
    "FullConfig",
    "Synthesizer",
    "SynthesizerConfig",
    "ViewUNet",
    "azimuths_of",
    "conditions",
    "label_body",
]
