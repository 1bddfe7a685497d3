"""The scripts of others that a web page needs: three.js and Spark, from npm's registry.

The repository does not carry them. The first export to the web fetches two pinned packages, takes eight files and
their licences out of them, and keeps those; later exports need no network.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import io
import os
import sys
import tarfile
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from ..avatar.formats.atomic import whole_file
from ..avatar.formats.types import ExportError

REGISTRY = "https://registry.npmjs.org"
FOLDER_VARIABLE = "HUMANSPLAT_WEB_PACKAGES"
REGISTRY_VARIABLES = ("npm_config_registry", "NPM_CONFIG_REGISTRY")
_TIMEOUT = 60.0  # seconds without an answer
_LARGEST = 64 << 20  # bytes that a package, or what is taken out of it, may have


@dataclass(frozen=True)
class WebPackage:
    """A package of npm's registry.

    Attributes:
        name: with its scope, where it has one.
        version: the only one that is taken.
        integrity: of the tarball, as npm writes it: "sha512-" and base64.
        files: SHA-256 (hexadecimal) of each file that is needed, by its path in the package.
    """

    name: str
    version: str
    integrity: str
    files: Mapping[str, str]

    @property
    def tarball(self) -> str:
        """The file's name in the registry."""
        return f"{self.name.rpartition('/')[2]}-{self.version}.tgz"


PACKAGES = (
    WebPackage(
        "three",
        "0.187.0",
        "sha512-Qiu7R+Cmh8CstZsY1uJOSWnVlfo7ZtNLV7mF8Jltk3LB3AtDu9cRZlcnRKkAk8Y4z6KKw35z7Y7Urd7jWY8etA==",
        MappingProxyType(
            {
                "LICENSE": "8b378ebe60e2fe500158cb0ac71cb5e8b7d92953c2abcc63a0eb90499653b5bc",
                "build/three.core.js": "613e370f76638fdef83926642bf256dc9615684922de1ce1f63a8583e5d78578",
                "build/three.module.js": "104f56145899722094556490d787aae0617cc2fc3382f31df02d724ea1aee341",
                "examples/jsm/controls/OrbitControls.js": (
                    "e7fca2fe9e7670a828af9b28084669a5909445b7f36f1f26cee9bf8f2961c32c"
                ),
                "examples/jsm/loaders/GLTFLoader.js": (
                    "532ac726e120039acbcd6cf54328c57acbf7b438176afaa6951257126d11bff1"
                ),
                "examples/jsm/postprocessing/Pass.js": (
                    "444b409c235ead986893c472e720da1b779a56985c7d10b279c7944b52bd61c5"
                ),
                "examples/jsm/utils/BufferGeometryUtils.js": (
                    "7bda2a8ba836b2bcf67cb938d4b9e1bb5d1b1bc616817103ed858c0b58296ce7"
                ),
                "examples/jsm/utils/SkeletonUtils.js": (
                    "b1632a703206c3d830de9fcbe515696770d04b71a15ee6b50afa6d2c3298c86f"
                ),
            }
        ),
    ),
    WebPackage(
        "@sparkjsdev/spark",
        "2.2.0",
        "sha512-wf5F2YAmPXnjm20/MgXYer9FQTXz2JOCo05HwxFkaD7Guk9rHVPIwdJ6fq0oF9ME0heMvYj+TxS6DTrucvy6KA==",
        MappingProxyType(
            {
                "LICENSE": "51829693e5dccd9ca1daa093991faac3aaa93238eb8fd5f5cb4130af85791d64",
                "dist/spark.module.min.js": "96869fab4f2164d5d267b1df1e1b636c05e6499973cb8dddec23387919b38526",
            }
        ),
    ),
)


def kept_folder() -> Path:
    """Where fetched packages are kept: beside the networks, in the Python environment."""
    return Path(sys.prefix) / "share" / "humansplat" / "web"


def web_packages(offline: bool = False, kept: Path | None = None) -> dict[str, bytes]:
    """The needed files by package and path, as ``three/build/three.core.js``; all of them are what was pinned.

    The folder that the environment variable ``HUMANSPLAT_WEB_PACKAGES`` names, if it is set, holds tarballs or unpacked
    packages (as ``node_modules`` does), and nothing else is tried. Without it come the files kept by an earlier call,
    then the registry (``npm_config_registry``, or npm's own).

    Args:
        offline: whether downloads are forbidden.
        kept: the folder to keep files in, instead of :func:`kept_folder`.

    Raises:
        ExportError: the packages are not at hand and cannot be fetched, or are not what they should be.
    """
    named = os.environ.get(FOLDER_VARIABLE)
    kept = kept or kept_folder()
    found: dict[str, bytes] = {}
    for package in PACKAGES:
        files = _from_named_folder(Path(named), package) if named else _read_files(kept / package.name, package)
        if files is None:
            files = _fetch(package, offline)
            _keep(kept / package.name, files)
        found.update({f"{package.name}/{path}": content for path, content in files.items()})
    return found


def take_out(package: WebPackage, tarball: bytes) -> dict[str, bytes]:
    """The needed files of a tarball; nothing is written, and other members are not looked at.

    Raises:
        ExportError: the tarball is not the pinned one, or lacks a file.
    """
    digest = base64.b64encode(hashlib.sha512(tarball).digest()).decode("ascii")
    if f"sha512-{digest}" != package.integrity:
        raise ExportError(
            f"The package {package.name} {package.version} is not what it should be (its checksum differs); try again "
            "on another network, or ask who runs your npm registry."
        )
    files = {}
    try:
        with tarfile.open(fileobj=io.BytesIO(tarball), mode="r:gz") as archive:
            for path in package.files:
                member = archive.getmember(f"package/{path}")
                stream = archive.extractfile(member) if member.isfile() and member.size <= _LARGEST else None
                if stream is None:
                    raise KeyError(path)
                files[path] = stream.read()
    except (KeyError, tarfile.TarError, OSError, EOFError) as error:
        raise ExportError(
            f"The package {package.name} {package.version} cannot be unpacked; install HumanSplat again."
        ) from error
    if not _as_pinned(package, files):
        raise ExportError(f"The package {package.name} {package.version} has other files; install HumanSplat again.")
    return files


def _as_pinned(package: WebPackage, files: Mapping[str, bytes]) -> bool:
    return all(hashlib.sha256(files[path]).hexdigest() == digest for path, digest in package.files.items())


def _read_files(folder: Path, package: WebPackage) -> dict[str, bytes] | None:
    """The unpacked package in ``folder``, or None where it is missing, damaged or of another version."""
    try:
        files = {path: (folder / path).read_bytes() for path in package.files}
    except OSError:
        return None
    return files if _as_pinned(package, files) else None


def _from_named_folder(folder: Path, package: WebPackage) -> dict[str, bytes]:
    """The package out of a folder of tarballs, or of unpacked packages.

    Raises:
        ExportError: it is not there, or is another one.
    """
    files = _read_files(folder / package.name, package)
    if files is not None:
        return files
    packed = package.name.lstrip("@").replace("/", "-")  # the name that `npm pack` gives
    for name in (package.tarball, f"{packed}-{package.version}.tgz"):
        try:
            return take_out(package, (folder / name).read_bytes())
        except OSError:
            continue
    raise ExportError(
        f"The folder {folder}, which {FOLDER_VARIABLE} names, has no {package.name} {package.version}: put "
        f"{package.tarball} from npm's registry into it."
    )


def _fetch(package: WebPackage, offline: bool) -> dict[str, bytes]:
    """The package from the registry.

    Raises:
        ExportError: downloads are forbidden or fail.
    """
    advice = (
        f"export to the web once while online, or put {package.tarball} from npm's registry into a folder and name it "
        f"in the environment variable {FOLDER_VARIABLE}"
    )
    if offline:
        raise ExportError(
            f"The web page needs {package.name} {package.version}, which has not been downloaded yet: {advice}."
        )
    registry = next(filter(None, (os.environ.get(name) for name in REGISTRY_VARIABLES)), REGISTRY)
    url = f"{registry.rstrip('/')}/{package.name}/-/{package.tarball}"
    if not url.lower().startswith(("https://", "http://")):
        raise ExportError(f"The npm registry {registry} is no web address: mend {REGISTRY_VARIABLES[0]}.")
    try:
        with urllib.request.urlopen(url, timeout=_TIMEOUT) as answer:
            tarball = answer.read(_LARGEST + 1)
    except (OSError, ValueError) as error:  # URLError and what the sockets raise are OSErrors
        reason = error.reason if isinstance(error, urllib.error.URLError) else error
        raise ExportError(
            f"The web page needs {package.name} {package.version}, which could not be downloaded ({reason}): {advice}."
        ) from error
    return take_out(package, tarball)


def _keep(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write the files for the next time, each at once or not at all; a folder that cannot be written is no failure.

    What is half there, since the machine was switched off, is not as pinned and is fetched again.
    """
    with contextlib.suppress(ExportError):
        for path, content in files.items():
            with whole_file(folder / path) as temporary:
                temporary.write_bytes(content)
