"""Large models of others that can make the other sides of a person: their files, licences, sizes and needs.

Nothing of them ships. Sizes are those that the hub's pages give, rounded; docs/models.md says what is not verified.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath

from ..errors import BackendError
from ..options import shown

SAFE_SUFFIXES = frozenset({".safetensors", ".json", ".txt"})
"""Of files that are downloaded and opened; none of them can hold a program."""
PICKLE_SUFFIXES = frozenset({".bin", ".ckpt", ".pt", ".pth", ".pkl", ".pickle"})
"""Of files that hold pickles, which run programs when they are opened."""
GIGABYTE = 1_000_000_000
_MEGABYTE = 1_000_000
_KILOBYTE = 1_000


@dataclass(frozen=True)
class Licence:
    """The terms of a part.

    Attributes:
        name: as its owner calls it.
        version: of the text, which an acceptance is recorded with.
        address: where the text is.
        forbids: one sentence of ours on what it forbids; the text is what counts.
    """

    name: str
    version: str
    address: str
    forbids: str

    @property
    def key(self) -> str:
        """Name and version: what is accepted."""
        return f"{self.name}, {self.version}"


@dataclass(frozen=True)
class RemoteFile:
    """A file of a repository on the hub.

    Attributes:
        name: path in the repository, with slashes.
        size: bytes, about.
        optional: nothing that is made by default needs it.
    """

    name: str
    size: int
    optional: bool = False


@dataclass(frozen=True)
class Part:
    """Files of one repository that are loaded together.

    Attributes:
        name: key of `backend.models.store.resolve`, and name of the part's folder.
        repository: id on the Hugging Face hub.
        files: all that is taken of it.
        licence: of these files.
        gated: the hub gives the files only to accounts that have accepted the terms on the repository's page.
        entry: name of the file that loaders are given; empty: the folder.
        revision: branch, tag or commit.
    """

    name: str
    repository: str
    files: tuple[RemoteFile, ...]
    licence: Licence
    gated: bool = False
    entry: str = ""
    revision: str = "main"

    @property
    def page(self) -> str:
        """Address of the repository's page."""
        return f"https://huggingface.co/{self.repository}"


@dataclass(frozen=True)
class Model:
    """Something that can be downloaded as a whole.

    Attributes:
        name: one of `backend.options.SOURCES`.
        title: as people call it.
        about: one sentence on what it does.
        parts: see there.
        least_memory: bytes of the smallest graphics card on which it is meant to run.
    """

    name: str
    title: str
    about: str
    parts: tuple[Part, ...]
    least_memory: int

    @property
    def licences(self) -> tuple[Licence, ...]:
        """Of all parts, each once."""
        return tuple(dict.fromkeys(part.licence for part in self.parts))

    def wanted(self, optional: bool = False) -> list[tuple[Part, RemoteFile]]:
        """The files to have, with their parts."""
        return [(part, file) for part in self.parts for file in part.files if optional or not file.optional]

    def size(self, optional: bool = False) -> int:
        """Bytes of the files to have, about."""
        return sum(file.size for _, file in self.wanted(optional))


def _files(*entries: tuple[str, int]) -> tuple[RemoteFile, ...]:
    return tuple(RemoteFile(name, size) for name, size in entries)


_OPEN_RAIL = Licence(
    "CreativeML Open RAIL++-M",
    "26 July 2023",
    "https://huggingface.co/stabilityai/stable-diffusion-xl-base-1.0/blob/main/LICENSE.md",
    "It forbids the harmful uses of its attachment A, such as pictures that defame or harass people; commercial use is "
    "allowed.",
)
_APACHE = Licence(
    "Apache License",
    "2.0",
    "https://www.apache.org/licenses/LICENSE-2.0",
    "It forbids next to nothing: who passes the files on keeps its notices.",
)
_MIT = Licence(
    "MIT License",
    "of the repository",
    "https://huggingface.co/madebyollin/sdxl-vae-fp16-fix",
    "It forbids next to nothing: who passes the files on keeps its notice.",
)
_STABILITY = Licence(
    "Stability AI Community License",
    "5 July 2024",
    "https://huggingface.co/chenguolin/sv3d-diffusers/blob/main/LICENSE.md",
    "It forbids commercial use to whoever earns more than a million US dollars a year and has no enterprise licence, "
    "and to train other foundation models with what it makes.",
)

MODELS = {
    model.name: model
    for model in (
        Model(
            "mv-adapter",
            "MV-Adapter",
            "Pictures of the other sides by Stable Diffusion XL, steered by the shape of the fitted body.",
            (
                Part(
                    "base",
                    "stabilityai/stable-diffusion-xl-base-1.0",
                    _files(
                        ("model_index.json", 609),
                        ("scheduler/scheduler_config.json", 479),
                        ("tokenizer/merges.txt", 525 * _KILOBYTE),
                        ("tokenizer/special_tokens_map.json", 472),
                        ("tokenizer/tokenizer_config.json", 737),
                        ("tokenizer/vocab.json", 1_060 * _KILOBYTE),
                        ("tokenizer_2/merges.txt", 525 * _KILOBYTE),
                        ("tokenizer_2/special_tokens_map.json", 460),
                        ("tokenizer_2/tokenizer_config.json", 725),
                        ("tokenizer_2/vocab.json", 1_060 * _KILOBYTE),
                        ("text_encoder/config.json", 565),
                        ("text_encoder/model.fp16.safetensors", 246 * _MEGABYTE),
                        ("text_encoder_2/config.json", 575),
                        ("text_encoder_2/model.fp16.safetensors", 1_390 * _MEGABYTE),
                        ("unet/config.json", 1_680),
                        ("unet/diffusion_pytorch_model.fp16.safetensors", 5_140 * _MEGABYTE),
                    ),
                    _OPEN_RAIL,
                ),
                Part(
                    "vae",
                    "madebyollin/sdxl-vae-fp16-fix",
                    _files(("config.json", 631), ("diffusion_pytorch_model.safetensors", 335 * _MEGABYTE)),
                    _MIT,
                ),
                Part(
                    "adapter",
                    "huanngzh/mv-adapter",
                    (
                        RemoteFile("mvadapter_ig2mv_sdxl.safetensors", 3_600 * _MEGABYTE),
                        RemoteFile("mvadapter_i2mv_sdxl.safetensors", 3_600 * _MEGABYTE, optional=True),
                    ),
                    _APACHE,
                    entry="mvadapter_ig2mv_sdxl.safetensors",
                ),
            ),
            least_memory=14 * GIGABYTE,
        ),
        Model(
            "sv3d",
            "SV3D",
            "Pictures of the other sides by Stability AI's Stable Video 3D, of the photo alone.",
            (
                Part(
                    "pipeline",
                    "chenguolin/sv3d-diffusers",
                    _files(
                        ("feature_extractor/preprocessor_config.json", 518),
                        ("image_encoder/config.json", 555),
                        ("image_encoder/model.safetensors", 2_530 * _MEGABYTE),
                        ("scheduler/scheduler_config.json", 536),
                        ("unet/config.json", 830),
                        ("unet/diffusion_pytorch_model.safetensors", 6_100 * _MEGABYTE),
                        ("vae/config.json", 819),
                        ("vae/diffusion_pytorch_model.safetensors", 335 * _MEGABYTE),
                    ),
                    _STABILITY,
                ),
            ),
            # The smallest of the modes of backend/views/synthesize/memory.py is meant for cards of 8 GB, less what the
            # driver keeps.
            least_memory=7 * GIGABYTE,
        ),
    )
}
"""All models, by name."""


def find_model(name: str) -> Model:
    """The model of this name.

    Raises:
        BackendError: kind ``model_unknown``.
    """
    if name not in MODELS:
        raise BackendError(
            "model_unknown", f"There is no model {shown(name, 40)}.", f"Choose one of: {', '.join(MODELS)}."
        )
    return MODELS[name]


def is_safe(name: str) -> bool:
    """Whether a file of this name may be downloaded and opened: a path below its folder, with a safe suffix."""
    path = PurePosixPath(name)
    inside = bool(path.parts) and not path.is_absolute() and ".." not in path.parts and "\\" not in name
    return inside and ":" not in name and path.suffix in SAFE_SUFFIXES


def size_text(size: float) -> str:
    """Bytes for people, such as ``"5.1 GB"``."""
    if size >= GIGABYTE:
        return f"{size / GIGABYTE:.1f} GB"
    if size >= _MEGABYTE:
        return f"{size / _MEGABYTE:.0f} MB"
    return f"{size / _KILOBYTE:.0f} kB" if size >= _KILOBYTE else f"{size:.0f} bytes"
