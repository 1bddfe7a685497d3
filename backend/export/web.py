"""The avatar as a web page that needs no network: a folder, or one file.

Both hold the same page (``web/``), the same scripts of others (``web_packages.py``), and the avatar's GLB. A page
opened from disk may neither fetch files nor import modules, so scripts and avatar come packed in ordinary scripts.
"""

from __future__ import annotations

import base64
import gzip
import html
import json
import posixpath
import re
from collections.abc import Mapping
from pathlib import Path

from ..avatar.formats.atomic import whole_file, whole_folder
from ..avatar.formats.types import ExportError
from .web_packages import PACKAGES, web_packages

PAGE_NAME = "index.html"
GLB_NAME = "avatar_splat.glb"
_SOURCES = Path(__file__).resolve().parent / "web"
_MODULES = {
    "three": "three/build/three.module.js",
    "three/core": "three/build/three.core.js",
    "three/addons/controls/OrbitControls.js": "three/examples/jsm/controls/OrbitControls.js",
    "three/addons/loaders/GLTFLoader.js": "three/examples/jsm/loaders/GLTFLoader.js",
    "three/addons/postprocessing/Pass.js": "three/examples/jsm/postprocessing/Pass.js",
    "three/addons/utils/BufferGeometryUtils.js": "three/examples/jsm/utils/BufferGeometryUtils.js",
    "three/addons/utils/SkeletonUtils.js": "three/examples/jsm/utils/SkeletonUtils.js",
    "@sparkjsdev/spark": "@sparkjsdev/spark/dist/spark.module.min.js",
}
"""Files of the packages by the names under which modules import them."""
_NAMES = {path: name for name, path in _MODULES.items()}
_RELATIVE_IMPORT = re.compile(r"(\bfrom\s*)(['\"])(\.{1,2}/[^'\"]+)\2")
_SOURCE_MAP = re.compile(r"^//# sourceMappingURL=.*$", re.MULTILINE)


def write_web_folder(folder: Path, splats_glb: bytes, title: str, licence: str = "", offline: bool = False) -> None:
    """Write a page with its files: it opens from disk and from any server of static files.

    ``index.html`` is the page and ``avatar_splat.glb`` the avatar, which other programs read too. ``avatar_data.js``
    is the same for pages opened from disk, ``libraries.js`` has three.js and Spark, ``LICENCES.txt`` their licences.

    Args:
        folder: to make; an earlier page there is replaced.
        splats_glb: a GLB with ``KHR_gaussian_splatting`` points, a skin and clips.
        title: the avatar's name.
        licence: one line, who may do what with the avatar.
        offline: whether downloads are forbidden.

    Raises:
        ExportError: the GLB is none, the scripts of others are not at hand, or the folder holds something else or
            cannot be written.
    """
    packages = _checked(splats_glb, offline)
    scripts = '<script src="libraries.js"></script>'
    files = {
        "libraries.js": _libraries(packages).encode(),
        "avatar_data.js": _avatar_data(splats_glb).encode(),
        GLB_NAME: splats_glb,
        "LICENCES.txt": _licences(packages).encode(),
        PAGE_NAME: _page(title, licence, packages, scripts).encode(),
    }
    with whole_folder(folder, GLB_NAME) as empty:
        for name, content in files.items():
            (empty / name).write_bytes(content)


def write_single_page(path: Path, splats_glb: bytes, title: str, licence: str = "", offline: bool = False) -> None:
    """Write a page with everything in one HTML file, which opens from disk: to send to somebody.

    Args:
        path: the file.
        splats_glb, title, licence, offline: as for :func:`write_web_folder`.

    Raises:
        ExportError: as there.
    """
    packages = _checked(splats_glb, offline)
    scripts = f"<script>{_libraries(packages)}</script>\n<script>{_avatar_data(splats_glb)}</script>"
    content = _page(title, licence, packages, scripts).encode()
    with whole_file(path) as temporary:
        temporary.write_bytes(content)


def _checked(splats_glb: bytes, offline: bool) -> dict[str, bytes]:
    """The scripts of others, before anything is written.

    Raises:
        ExportError: the avatar is no GLB, or the scripts are not at hand.
    """
    if splats_glb[:4] != b"glTF" or b"KHR_gaussian_splatting" not in splats_glb:
        raise ExportError("The avatar for the web page is no GLB with Gaussian splats; export it again.")
    return web_packages(offline)


def _packed(content: bytes) -> str:
    return base64.b64encode(gzip.compress(content, mtime=0)).decode("ascii")


def _libraries(packages: Mapping[str, bytes]) -> str:
    """A script with the modules of others, packed, by name."""
    modules = {name: _packed(_importable(path, packages[path]).encode()) for name, path in _MODULES.items()}
    return f"self.humansplatModules = {json.dumps(modules)};"


def _avatar_data(splats_glb: bytes) -> str:
    return f'self.humansplatAvatar = "{_packed(splats_glb)}";'


def _importable(path: str, code: bytes) -> str:
    """A module that imports others by name: the blobs that the page makes of modules have no neighbours."""

    def rename(found: re.Match[str]) -> str:
        neighbour = posixpath.normpath(posixpath.join(posixpath.dirname(path), found[3]))
        return f"{found[1]}{found[2]}{_NAMES[neighbour]}{found[2]}"

    return _SOURCE_MAP.sub("", _RELATIVE_IMPORT.sub(rename, code.decode("utf-8")))


def _licences(packages: Mapping[str, bytes]) -> str:
    parts = (
        f"{package.name} {package.version}\n\n{packages[f'{package.name}/LICENSE'].decode('utf-8').strip()}\n"
        for package in PACKAGES
    )
    return "\n\n".join(parts)


def _page(title: str, licence: str, packages: Mapping[str, bytes], data: str) -> str:
    """The page's HTML, with ``data`` where its scripts of data go."""
    values = {
        "title": html.escape(title),
        "licence": html.escape(licence),
        "licences": html.escape(_licences(packages)),
        "data": data,
        "styles": (_SOURCES / "viewer.css").read_text("utf-8"),
        **{name: (_SOURCES / name).read_text("utf-8") for name in ("avatar.js", "viewer.js", "boot.js")},
    }
    template = (_SOURCES / PAGE_NAME).read_text("utf-8")
    return re.sub(r"\{\{([\w.]+)\}\}", lambda found: values[found[1]].strip(), template)
