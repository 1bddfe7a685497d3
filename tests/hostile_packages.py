"""Avatar packages that strangers could send: damaged, lying, too large, nonsense. Made from a valid one, with numpy.

``python tests/hostile_packages.py VALID FOLDER`` writes them; :func:`hostile_packages` also says what is right for each
of them.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import struct
import sys
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

OPENS, REFUSED = "opens", "refused"

_GIB = 1 << 30


class HostilePackage(NamedTuple):
    """One package.

    Attributes:
        name: of the case.
        path: its folder.
        expected: `OPENS` (odd, but an avatar) or `REFUSED` (with one sentence).
    """

    name: str
    path: Path
    expected: str


def hostile_packages(valid: Path, folder: Path) -> list[HostilePackage]:
    """Write every case as a sub-folder of ``folder``, which is made; what a case does not change is linked or copied.

    Args:
        valid: a package that opens, with ``avatar.json``, ``gaussians.ply``, ``skin.npz``, ``body.npz``.
        folder: on the same disk, where links are to be possible.
    """
    folder.mkdir(parents=True, exist_ok=True)
    made = []
    for name, (expected, change) in _cases(valid).items():
        target = folder / name
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir()
        for file in ("avatar.json", "gaussians.ply", "skin.npz", "body.npz"):
            _link(valid / file, target / file)
        change(target)
        made.append(HostilePackage(name, target, expected))
    return made


def _cases(valid: Path) -> dict[str, tuple[str, Callable[[Path], None]]]:
    return {**_ply_cases(valid), **_json_cases(valid), **_archive_cases(valid), **_array_cases(valid), **_file_cases()}


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def write(path: Path, data: bytes) -> None:
    """Replace a file, not what it is linked to."""
    path.unlink(missing_ok=True)
    path.write_bytes(data)


# --- gaussians.ply -----------------------------------------------------------------------------------------------


def _ply_cases(valid: Path) -> dict[str, tuple[str, Callable[[Path], None]]]:
    ply = (valid / "gaussians.ply").read_bytes()
    end = ply.index(b"end_header\n") + 11
    head, count = ply[:end], int(ply.split(b"element vertex ")[1].split(b"\n")[0])
    table = np.frombuffer(ply, "<f4", offset=end).reshape(count, 62)

    def raw(data: bytes) -> Callable[[Path], None]:
        return lambda folder: write(folder / "gaussians.ply", data)

    def counted(number: bytes, data: bytes = ply) -> Callable[[Path], None]:
        return raw(data.replace(b"element vertex %d" % count, b"element vertex " + number, 1))

    def numbers(rows: Any, columns: slice, value: float) -> Callable[[Path], None]:
        changed = table.copy()
        changed[rows, columns] = value
        return raw(head + changed.tobytes())

    def sparse(folder: Path) -> None:
        # 20 billion splats, all of them a hole in the file.
        number = 20_000_000_000
        write(folder / "gaussians.ply", head.replace(b"vertex %d" % count, b"vertex %d" % number, 1))
        with open(folder / "gaussians.ply", "rb+") as file:
            file.truncate(file.seek(0, io.SEEK_END) + number * 248)

    everything = slice(None)
    plain = b"ply\nformat binary_little_endian 1.0\n"
    return {
        "ply_cut": (REFUSED, raw(ply[: len(ply) // 2])),
        "ply_longer": (REFUSED, raw(ply + b"\0")),
        "ply_header_only": (REFUSED, raw(head)),
        "ply_empty": (REFUSED, raw(b"")),
        "ply_count_20_digits": (REFUSED, counted(b"9" * 20)),
        "ply_count_900_digits": (REFUSED, counted(b"9" * 900)),
        "ply_count_zero": (REFUSED, counted(b"0", head)),
        "ply_count_negative": (REFUSED, counted(b"-5")),
        "ply_sparse_file": (REFUSED, sparse),
        "ply_nan": (REFUSED, numbers(0, slice(0, 1), np.nan)),
        "ply_infinite": (REFUSED, numbers(0, slice(0, 1), np.inf)),
        "ply_places_1e30": (REFUSED, numbers(everything, slice(0, 3), 1e30)),
        "ply_one_place_3e38": (REFUSED, numbers(0, slice(0, 3), 3e38)),
        "ply_scale_e80": (REFUSED, numbers(everything, slice(55, 58), 80.0)),
        "ply_scale_1_km": (REFUSED, numbers(everything, slice(55, 58), np.log(1000.0))),
        "ply_no_turns": (OPENS, numbers(everything, slice(58, 62), 0.0)),
        "ply_turns_1e30": (REFUSED, numbers(everything, slice(58, 62), 1e30)),
        "ply_colours_1e38": (REFUSED, numbers(everything, slice(6, 9), 1e38)),
        "ply_opacity_1e30": (OPENS, numbers(everything, slice(54, 55), 1e30)),
        "ply_ascii": (REFUSED, raw(ply.replace(b"binary_little_endian", b"ascii"))),
        "ply_one_of_many": (REFUSED, counted(b"1", ply[: end + 248])),
        "ply_endless_header": (REFUSED, raw(plain + b"comment x\n" * 100_000)),
        "ply_endless_line": (REFUSED, raw(plain + b"comment " + b"x" * 5_000_000)),
        "ply_list": (REFUSED, raw(plain + b"element vertex 1\nproperty list uchar int x\nend_header\n")),
        "ply_many_properties": (
            REFUSED,
            raw(head.replace(b"end_header\n", b"property double d\n" * 3_000 + b"end_header\n")),
        ),
    }


# --- avatar.json -------------------------------------------------------------------------------------------------


def _json_cases(valid: Path) -> dict[str, tuple[str, Callable[[Path], None]]]:
    text = (valid / "avatar.json").read_text("utf-8")

    def raw(data: bytes) -> Callable[[Path], None]:
        return lambda folder: write(folder / "avatar.json", data)

    def changed(**entries: Any) -> Callable[[Path], None]:
        return raw(json.dumps(json.loads(text) | entries).encode())

    def inside(table: str, **entries: Any) -> Callable[[Path], None]:
        return changed(**{table: json.loads(text)[table] | entries})

    document = json.loads(text)
    compact = json.dumps(document)
    evil = "../../../../etc/\x00\n\u202e" + "A" * 100_000
    return {
        "json_empty": (REFUSED, raw(b"")),
        "json_deep": (REFUSED, raw(b"[" * 200_000)),
        "json_deep_inside": (
            REFUSED,
            raw((compact[:-1] + ',"x":' + "[" * 100_000 + "]" * 100_000 + "}").encode()),
        ),
        "json_deep_tables": (REFUSED, raw(b'{"a":' * 50_000 + b"1" + b"}" * 50_000)),
        "json_10_mb": (REFUSED, raw(compact.encode()[:-1] + b" " * 10_000_000 + b"}")),
        "json_not_utf8": (REFUSED, raw(compact.encode().replace(b'humansplat"', b'\xff\xfe"', 1))),
        "json_bom": (OPENS, raw(b"\xef\xbb\xbf" + compact.encode())),
        "json_format_alone": (REFUSED, raw(b'{"format": "humansplat-avatar", "version": 2}')),
        "json_version_99": (REFUSED, changed(version=99)),
        "json_version_text": (REFUSED, changed(version="2")),
        "json_version_list": (REFUSED, changed(version=[[2]] * 1000)),
        "json_other_format": (REFUSED, changed(format="x")),
        "json_23_joints": (REFUSED, changed(joint_names=document["joint_names"][:23])),
        "json_joint_names_that_quote": (REFUSED, changed(joint_names=[f'x"\\][;{i}' for i in range(24)])),
        "json_joint_names_long": (REFUSED, changed(joint_names=["A" * 80 + str(i) for i in range(24)])),
        "json_joint_names_numbers": (REFUSED, changed(joint_names=list(range(24)))),
        "json_parents_in_a_circle": (REFUSED, changed(parents=[-1] + [5] * 23)),
        "json_parents_fractions": (REFUSED, changed(parents=[p + 0.5 for p in document["parents"]])),
        "json_nan": (REFUSED, changed(translation=[float("nan")] * 3)),
        "json_pose_1e300": (REFUSED, changed(pose=[[1e300] * 3] * 24)),
        "json_pose_texts": (REFUSED, changed(pose=[["0", "0", "0"]] * 24)),
        "json_pose_deep": (REFUSED, changed(pose=[[[0, 0, 0]]] * 24)),
        "json_pose_ragged": (REFUSED, changed(pose=[[0, 0, 0]] * 23 + [[0]])),
        "json_translation_1e300": (REFUSED, changed(translation=[1e300] * 3)),
        "json_betas_1e6": (REFUSED, changed(betas=[1e6] * 10)),
        "json_rest_1e200": (REFUSED, changed(rest_joints=[[1e200] * 3] * 24)),
        "json_rest_zero": (REFUSED, changed(rest_joints=[[0, 0, 0]] * 24)),
        "json_rest_10_m_apart": (REFUSED, changed(rest_joints=[[i / 2, 0, 0] for i in range(24)])),
        "json_preserve_volume_2": (REFUSED, changed(preserve_volume=2)),
        "json_generator_text": (REFUSED, changed(generator="x")),
        "json_weights_number": (REFUSED, inside("generator", weights=5)),
        "json_weights_text": (REFUSED, inside("generator", weights="abc")),
        "json_weights_odd": (REFUSED, inside("generator", weights=[{"name": 5}])),
        "json_body_model_list": (REFUSED, changed(body_model=[1])),
        "json_body_model_number": (REFUSED, changed(body_model={"name": 1, "licence": {}})),
        "json_body_model_is_a_path": (REFUSED, changed(body_model={"name": "anny-../../../x", "licence": ""})),
        "json_source_evil": (REFUSED, inside("source", name=evil)),
        "json_source_list": (REFUSED, changed(source=[1])),
        "json_source_half_a_letter": (REFUSED, inside("source", name="\ud800")),
        "json_source_right_to_left": (OPENS, inside("source", name="\u202egpj.exe")),
        "json_crop_text": (REFUSED, inside("source", crop="all of it")),
        "json_width_400_digits": (
            REFUSED,
            raw(compact.replace(f'"width": {document["camera"]["width"]}', '"width": 1' + "0" * 400, 1).encode()),
        ),
        "json_width_infinite": (REFUSED, inside("camera", width=float("inf"))),
        "json_width_million": (REFUSED, inside("camera", width=1_000_000)),
        "json_focal_zero": (REFUSED, inside("camera", fx=0)),
        "json_focal_true": (REFUSED, inside("camera", fx=True)),
        "json_camera_no_turn": (REFUSED, inside("camera", world_to_camera=[[0.0] * 4] * 4)),
        "json_warnings_text": (REFUSED, changed(warnings="hello")),
        "json_warnings_million": (REFUSED, changed(warnings=["a"] * 100_000)),
        "json_seconds_texts": (REFUSED, changed(seconds={"a": "b"})),
        "json_list": (REFUSED, raw(b"[1, 2]")),
        "json_constant": (REFUSED, raw(b"NaN")),
    }


# --- the archives as files ---------------------------------------------------------------------------------------


def npy(array: np.ndarray) -> bytes:
    """An array as a file ``.npy``."""
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def npy_header(kind: str, shape: tuple[int, ...]) -> bytes:
    """The header alone of such a file."""
    return _header(f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape!r}, }}".encode())


def _header(text: bytes) -> bytes:
    text += b" " * ((53 - len(text)) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text


def zip_of(entries: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    """A zip file."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as file:
        for name, data in entries.items():
            file.writestr(name, data)
    return stream.getvalue()


def zip_bomb(entries: dict[str, bytes], name: str, head: bytes, size: int) -> bytes:
    """A zip file with one more entry that unpacks to ``head`` and ``size`` zeros, whole mebibytes; quick to make."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed = packer.compress(head) + packer.flush(zlib.Z_FULL_FLUSH)
    mebibyte = packer.compress(bytes(1 << 20)) + packer.flush(zlib.Z_FULL_FLUSH)
    packed += mebibyte * (size >> 20) + packer.flush()
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as file:
        for other, data in entries.items():
            file.writestr(other, data)
        file.writestr(name, packed)
    data = bytearray(stream.getvalue())
    # Said to be deflated: in the local header and in the directory.
    for mark, method, sizes in ((b"PK\x03\x04", 8, 18), (b"PK\x01\x02", 10, 20)):
        at = data.rfind(mark)
        struct.pack_into("<H", data, at + method, zipfile.ZIP_DEFLATED)
        struct.pack_into("<III", data, at + sizes - 4, 0, len(packed), len(head) + (size >> 20 << 20))
    return bytes(data)


def _archive_cases(valid: Path) -> dict[str, tuple[str, Callable[[Path], None]]]:
    skin_file = (valid / "skin.npz").read_bytes()
    with np.load(valid / "skin.npz") as file:
        skin = {f"{name}.npy": npy(file[name]) for name in file.files}
    with np.load(valid / "body.npz") as file:
        body = {f"{name}.npy": npy(file[name]) for name in file.files}

    def raw(data: bytes, name: str = "skin.npz") -> Callable[[Path], None]:
        return lambda folder: write(folder / name, data)

    def marked(offset: int, value: int) -> bytes:
        data = bytearray(skin_file)
        at = data.find(b"PK\x01\x02")
        while at >= 0:
            data[at + offset] = value
            at = data.find(b"PK\x01\x02", at + 4)
        return bytes(data)

    def bomb(folder: Path) -> None:
        size = 3 * _GIB
        data = zip_bomb(
            {k: v for k, v in skin.items() if k != "offset.npy"}, "offset.npy", npy_header("<f4", (size // 12, 3)), size
        )
        write(folder / "skin.npz", data)

    def idle_bomb(folder: Path) -> None:
        size = 3 * _GIB
        write(folder / "body.npz", zip_bomb(body, "bomb.npy", npy_header("<f8", (size // 8,)), size))

    def lying_bomb(folder: Path) -> None:
        # The directory says a few bytes, the data unpack to gigabytes.
        others = {k: v for k, v in skin.items() if k != "seen.npy"}
        data = bytearray(zip_bomb(others, "seen.npy", npy_header("<f4", (2,)), _GIB))
        struct.pack_into("<I", data, data.rfind(b"PK\x01\x02") + 24, 136)
        write(folder / "skin.npz", bytes(data))

    def header_bomb(folder: Path) -> None:
        # An array of version 2 whose header says that it is 2 GiB long.
        head = b"\x93NUMPY\x02\x00" + struct.pack("<I", 2 * _GIB - 1024)
        others = {k: v for k, v in skin.items() if k != "seen.npy"}
        write(folder / "skin.npz", zip_bomb(others, "seen.npy", head, 2 * _GIB))

    def many(folder: Path) -> None:
        write(folder / "skin.npz", zip_of(skin | {f"{i}.npy": b"" for i in range(20_000)}))

    def twice(folder: Path) -> None:
        stream = io.BytesIO(skin_file)
        with zipfile.ZipFile(stream, "a") as file:
            file.writestr("offset.npy ", skin["offset.npy"])
        write(folder / "skin.npz", stream.getvalue().replace(b"offset.npy ", b"offset.npy\0"))

    def repeated(folder: Path) -> None:
        data = zip_of(skin | {"offsex.npy": skin["offset.npy"]}).replace(b"offsex.npy", b"offset.npy")
        write(folder / "skin.npz", data)

    harmless = b"{'descr': '<f4', 'fortran_order': False, 'shape': (1,), }"
    return {
        "npz_cut": (REFUSED, raw(skin_file[: len(skin_file) // 2])),
        "npz_text": (REFUSED, raw(b"hello")),
        "npz_is_npy": (REFUSED, raw(npy(np.zeros(3)))),
        "npz_empty_zip": (REFUSED, raw(zip_of({}))),
        "npz_encrypted": (REFUSED, raw(marked(8, 1))),
        "npz_method_99": (REFUSED, raw(marked(10, 99))),
        "npz_slip": (
            OPENS,
            raw(zip_of(skin | {"../../slipped.npy": npy(np.zeros(3)), "slipped": b"x"})),
        ),
        "npz_bomb": (REFUSED, bomb),
        "npz_bomb_that_nobody_asks_for": (OPENS, idle_bomb),
        "npz_bomb_that_lies": (REFUSED, lying_bomb),
        "npz_header_bomb": (REFUSED, header_bomb),
        "npz_20000_entries": (REFUSED, many),
        "npz_name_with_nul": (REFUSED, twice),
        "npz_entry_twice": (REFUSED, repeated),
        "npz_claims_400_gb": (REFUSED, raw(zip_of(skin | {"offset.npy": npy_header("<f4", (100_000_000_000,))}))),
        "npz_claims_fewer": (REFUSED, raw(zip_of(skin | {"offset.npy": skin["offset.npy"] + bytes(64)}))),
        "npz_negative_shape": (REFUSED, raw(zip_of(skin | {"offset.npy": npy_header("<f4", (-1, 3)) + bytes(12)}))),
        "npz_shape_times_zero": (REFUSED, raw(zip_of(skin | {"offset.npy": npy_header("<f4", (10**30, 0))}))),
        "npz_1000_dimensions": (REFUSED, raw(zip_of(skin | {"offset.npy": npy_header("<f4", (1,) * 1000) + bytes(4)}))),
        "npz_code_in_header": (
            REFUSED,
            raw(zip_of(skin | {"offset.npy": _header(b"__import__('os').system('touch pwned')")})),
        ),
        "npz_nested_header": (REFUSED, raw(zip_of(skin | {"offset.npy": _header(b"(" * 9_000)}))),
        "npz_header_without_dtype": (
            REFUSED,
            raw(zip_of(skin | {"offset.npy": _header(harmless.replace(b"'<f4'", b"'??'"))})),
        ),
        "npz_records": (REFUSED, raw(zip_of(skin | {"offset.npy": npy(np.zeros(4, [("a", "f4"), ("b", "i4")]))}))),
        "npz_texts": (REFUSED, raw(zip_of(skin | {"offset.npy": npy(np.array(["a" * 1000] * 9))}))),
        "npz_wrong_checksum": (REFUSED, raw(_flipped(skin_file))),
    }


def _flipped(data: bytes) -> bytes:
    """One bit of the first entry's numbers is another."""
    with zipfile.ZipFile(io.BytesIO(data)) as file:
        entry = file.infolist()[0]
    changed = bytearray(data)
    name, extra = struct.unpack_from("<HH", changed, entry.header_offset + 26)
    changed[entry.header_offset + 30 + name + extra + entry.compress_size - 3] ^= 1
    return bytes(changed)


# --- what is in the arrays ---------------------------------------------------------------------------------------


class _Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("touch pwned",)


def _array_cases(valid: Path) -> dict[str, tuple[str, Callable[[Path], None]]]:
    with np.load(valid / "skin.npz") as file:
        skin = dict(file)
    with np.load(valid / "body.npz") as file:
        body = dict(file)

    def arrays(name: str, all_of_it: dict[str, np.ndarray], **changes: Any) -> Callable[[Path], None]:
        def change(folder: Path) -> None:
            (folder / name).unlink()
            kept = {k: v for k, v in (all_of_it | changes).items() if v is not None}
            np.savez_compressed(folder / name, allow_pickle=True, **kept)

        return change

    def of_skin(**changes: Any) -> Callable[[Path], None]:
        return arrays("skin.npz", skin, **changes)

    def of_body(**changes: Any) -> Callable[[Path], None]:
        return arrays("body.npz", body, **changes)

    offset = skin["offset"]
    holed = offset.copy()
    holed[0] = np.nan
    faces = body["surface_faces"]
    half = faces.copy()
    half[::2, 1] = half[::2, 0]
    objects = np.array([_Evil()], dtype=object)
    vertices = body["surface_vertices"]
    return {
        "skin_pickle": (REFUSED, of_skin(offset=objects)),
        "skin_pickle_that_nobody_asks_for": (OPENS, of_skin(extra=objects)),
        "skin_without_offset": (REFUSED, of_skin(offset=None)),
        "skin_vertex_ids_high": (REFUSED, of_skin(vertex_ids=np.full_like(skin["vertex_ids"], 2**31 - 1))),
        "skin_vertex_ids_negative": (REFUSED, of_skin(vertex_ids=np.full_like(skin["vertex_ids"], -1))),
        "skin_vertex_ids_that_wrap": (REFUSED, of_skin(vertex_ids=skin["vertex_ids"].astype(np.int64) + 2**32)),
        "skin_joint_ids_200": (REFUSED, of_skin(joint_ids=np.full_like(skin["joint_ids"], 200))),
        "skin_joint_ids_that_wrap": (REFUSED, of_skin(joint_ids=skin["joint_ids"].astype(np.int32) + 256)),
        "skin_nan": (REFUSED, of_skin(offset=holed)),
        "skin_half_floats": (OPENS, of_skin(offset=offset.astype(np.float16))),
        "skin_big_endian": (OPENS, of_skin(offset=offset.astype(">f4"))),
        "skin_by_columns": (OPENS, of_skin(offset=np.asfortranarray(offset))),
        "skin_doubles_1e300": (REFUSED, of_skin(offset=np.full(offset.shape, 1e300))),
        "skin_complex": (REFUSED, of_skin(offset=offset.astype(np.complex64))),
        "skin_1e30": (REFUSED, of_skin(offset=offset + np.float32(1e30))),
        "skin_no_turns": (REFUSED, of_skin(rotation=skin["rotation"] * 0)),
        "skin_fewer": (REFUSED, of_skin(offset=offset[:-1])),
        "skin_weights_sum_to_2": (REFUSED, of_skin(joint_weights=skin["joint_weights"] * 2)),
        "body_without_vertices": (
            REFUSED,
            of_body(vertices=body["vertices"][:0], weights=body["weights"][:0], faces=body["faces"][:0]),
        ),
        "body_surface_1e18": (REFUSED, of_body(surface_vertices=vertices * np.float32(1e18))),
        "body_1_km_tall": (REFUSED, of_body(vertices=body["vertices"] * np.float32(500))),
        "body_flat": (REFUSED, of_body(surface_vertices=vertices * np.float32(0))),
        "body_nan": (REFUSED, of_body(vertices=np.full_like(body["vertices"], np.nan))),
        "body_1100000_vertices": (
            REFUSED,
            of_body(
                surface_vertices=np.zeros((1_100_000, 3), np.float32),
                surface_weights=np.zeros((1_100_000, 24), np.float32),
                reference_triangles=np.zeros((1_100_000, 3), np.int32),
            ),
        ),
        "body_correctives_2_gb": (REFUSED, _wide(body)),
        "faces_of_one_corner": (REFUSED, of_body(surface_faces=np.zeros_like(faces))),
        "faces_of_the_body_of_one_corner": (REFUSED, of_body(faces=np.zeros_like(body["faces"]))),
        "faces_none": (REFUSED, of_body(surface_faces=faces[:0])),
        "faces_half_without_area": (OPENS, of_body(surface_faces=half)),
        "faces_repeated": (OPENS, of_body(surface_faces=np.resize(faces, (200_000, 3)))),
        "faces_3_million": (REFUSED, of_body(surface_faces=np.resize(faces[:50], (3_000_000, 3)))),
        "faces_high": (REFUSED, of_body(surface_faces=faces + 2**30)),
        "uv_alone": (REFUSED, of_body(uv=np.zeros((4, 2), np.float32), uv_faces=None)),
    }


def _wide(body: dict[str, np.ndarray]) -> Callable[[Path], None]:
    """Correctives for a million vertices, of zeros, in two megabytes."""

    def change(folder: Path) -> None:
        entries = {f"{name}.npy": npy(array) for name, array in body.items()}
        size = 12 * 207 << 20
        head = npy_header("<f4", (size // (12 * 207), 3, 207))
        write(folder / "body.npz", zip_bomb(entries, "pose_correctives.npy", head, size))

    return change


# --- files that are none -----------------------------------------------------------------------------------------


def _file_cases() -> dict[str, tuple[str, Callable[[Path], None]]]:
    def missing(name: str) -> Callable[[Path], None]:
        return lambda folder: (folder / name).unlink()

    def a_folder(name: str) -> Callable[[Path], None]:
        def change(folder: Path) -> None:
            (folder / name).unlink()
            (folder / name).mkdir()

        return change

    def empty(folder: Path) -> None:
        for path in folder.iterdir():
            path.unlink()

    def picture(width: int, height: int) -> Callable[[Path], None]:
        head = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 6, 0, 0, 0)
        data = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + head + struct.pack(">I", zlib.crc32(head))
        return lambda folder: write(folder / "preview.png", data)

    cases: dict[str, tuple[str, Callable[[Path], None]]] = {
        **{
            f"no_{Path(n).stem}": (REFUSED, missing(n))
            for n in ("avatar.json", "gaussians.ply", "skin.npz", "body.npz")
        },
        **{
            f"folder_{Path(n).stem}": (REFUSED, a_folder(n))
            for n in ("avatar.json", "gaussians.ply", "skin.npz", "body.npz")
        },
        "empty": (REFUSED, empty),
        "preview_of_10_gigapixels": (REFUSED, picture(100_000, 100_000)),
        "preview_is_a_program": (REFUSED, lambda folder: write(folder / "preview.png", b"MZ" + bytes(1000))),
    }
    if hasattr(os, "mkfifo"):

        def a_pipe(name: str) -> Callable[[Path], None]:
            def change(folder: Path) -> None:
                (folder / name).unlink()
                os.mkfifo(folder / name)

            return change

        def a_device(folder: Path) -> None:
            (folder / "gaussians.ply").unlink()
            (folder / "gaussians.ply").symlink_to("/dev/zero")

        cases |= {
            **{f"pipe_{Path(n).stem}": (REFUSED, a_pipe(n)) for n in ("avatar.json", "gaussians.ply", "skin.npz")},
            "device_gaussians": (REFUSED, a_device),
        }
    return cases


if __name__ == "__main__":
    for case in hostile_packages(Path(sys.argv[1]), Path(sys.argv[2])):
        print(f"{case.expected:8} {case.path}")
