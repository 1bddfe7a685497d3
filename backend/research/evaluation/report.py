"""Means over people, as text, as JSON and as the table of the documentation."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from .runner import Row

VIEWS = {
    "input": "input view",
    "sides": "sides",
    "back": "back",
    "orbit": "orbit of 24",
    "head": "head crops",
    "hands": "hand crops",
    "repose": "reposed",
}
_PICTURE = (
    ("psnr", "PSNR", "{:.2f}"),
    ("ssim", "SSIM", "{:.3f}"),
    ("lpips", "LPIPS", "{:.3f}"),
    ("flip", "FLIP", "{:.3f}"),
    ("psnr_masked", "PSNR", "{:.2f}"),
    ("ssim_masked", "SSIM", "{:.3f}"),
    ("flip_masked", "FLIP", "{:.3f}"),
    ("iou", "outline IoU", "{:.3f}"),
)
_NUMBERS = (
    ("input.psnr_inside", "input view at 512 pixels, inside the matte: PSNR", "{:.2f}"),
    ("shape.chamfer", "Chamfer distance, mm", "{:.1f}"),
    ("shape.missed", "... from the true surface to ours, mm", "{:.1f}"),
    ("shape.spurious", "... from our surface to the true one, mm", "{:.1f}"),
    ("shape.normal", "normal error, degrees", "{:.1f}"),
    ("body.mpjpe", "MPJPE, mm", "{:.1f}"),
    ("body.pa_mpjpe", "PA-MPJPE, mm", "{:.1f}"),
    ("body.pve", "PVE, mm", "{:.1f}"),
    ("alignment.scale", "scale of the alignment", "{:.3f}"),
    ("seconds.prepare", "seconds: prepare", "{:.2f}"),
    ("seconds.body", "seconds: body", "{:.2f}"),
    ("seconds.depth", "seconds: depth", "{:.2f}"),
    ("seconds.light", "seconds: light", "{:.2f}"),
    ("seconds.surface", "seconds: surface, to bind to", "{:.2f}"),
    ("seconds.synthesize", "seconds: synthesize", "{:.2f}"),
    ("seconds.reconstruct", "seconds: reconstruct", "{:.2f}"),
    ("seconds.bind", "seconds: bind", "{:.2f}"),
    ("seconds.save", "seconds: save", "{:.2f}"),
    ("seconds.total", "seconds: total", "{:.2f}"),
    ("memory.peak", "peak memory, GiB", "{:.2f}"),
)
_MISSING = "–"
_TILE = 176


@dataclass(frozen=True)
class Summary:
    """A preset's results.

    Attributes:
        preset: its name.
        people: how many were tried.
        failures: by person, the sentence that says why there was no reconstruction.
        mean, spread: mean and standard deviation over people, by name.
    """

    preset: str
    people: int
    failures: dict[str, str]
    mean: dict[str, float]
    spread: dict[str, float]


def summarise(preset: str, rows: Sequence[Row]) -> Summary:
    """Means over the people for whom a number is there; peak memory is the highest of all."""
    names = sorted({name for row in rows for name in row.values})
    columns = {name: np.array([row.values[name] for row in rows if name in row.values]) for name in names}
    mean = {name: float(values.max() if name == "memory.peak" else values.mean()) for name, values in columns.items()}
    return Summary(
        preset=preset,
        people=len(rows),
        failures={row.name: row.error for row in rows if row.error is not None},
        mean=mean,
        spread={name: float(values.std()) for name, values in columns.items()},
    )


def markdown(summaries: Sequence[Summary], lpips_missing: str | None) -> str:
    """The tables, for the terminal and the documentation alike."""
    lines = []
    header = ["preset", "view", *(f"{title}{' in masks' if 'masked' in key else ''}" for key, title, _ in _PICTURE)]
    body = []
    for summary in summaries:
        for view, title in VIEWS.items():
            cells = [_cell(summary, f"{view}.{key}", style) for key, _, style in _PICTURE]
            body.append([summary.preset, title, *cells])
    lines += _table(header, body)
    lines.append("")
    used = [entry for entry in _NUMBERS if any(entry[0] in summary.mean for summary in summaries)]
    header = ["", *(summary.preset for summary in summaries)]
    body = [["reconstructed", *(f"{s.people - len(s.failures)} of {s.people}" for s in summaries)]]
    body += [[title, *(_cell(summary, key, style) for summary in summaries)] for key, title, style in used]
    lines += _table(header, body)
    if lpips_missing is not None:
        lines += ["", f"LPIPS was not measured: {lpips_missing}."]
    for summary in summaries:
        for name, error in summary.failures.items():
            lines += ["", f"Not reconstructed by {summary.preset}: {name}. {error}"]
    return "\n".join(lines)


def _cell(summary: Summary, key: str, style: str) -> str:
    return style.format(summary.mean[key]) if key in summary.mean else _MISSING


def _table(header: Sequence[str], body: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a Markdown table whose columns stand under each other as plain text too."""
    widths = [max(len(row[k]) for row in (header, *body)) for k in range(len(header))]
    rule = ["-" * max(width, 3) for width in widths]
    return [
        "| " + " | ".join(f"{cell:<{max(width, 3)}}" for cell, width in zip(row, widths)) + " |"
        for row in (header, rule, *body)
    ]


def sheet(rows: Sequence[Row], people: int, columns: Sequence[str] = ()) -> Image.Image | None:
    """The strips of the first ``people`` one below the other, made small; None where there are no pictures."""
    strips = []
    for row in [row for row in rows if row.picture is not None][:people]:
        image = Image.open(row.picture).convert("RGB")
        height = 3 * _TILE
        image = image.resize((image.width * height // image.height, height), Image.Resampling.LANCZOS)
        text = f"{row.name}   orbit {row.values['orbit.psnr']:.1f} dB, IoU {row.values['orbit.iou']:.2f}"
        ImageDraw.Draw(image).text((6, 3), text, fill=(0, 0, 0))
        strips.append(image)
    if not strips:
        return None
    out = Image.new("RGB", (max(s.width for s in strips), sum(s.height + 8 for s in strips)), "white")
    top = 0
    for image in strips:
        out.paste(image, (0, top))
        top += image.height + 8
    return out


def write_section(document: Path, name: str, text: str) -> None:
    """Replace what stands between ``<!-- NAME -->`` and ``<!-- end of NAME -->`` in a document.

    Raises:
        ValueError: the document has no such section.
    """
    content = document.read_text("utf-8")
    pattern = re.compile(rf"(<!-- {name} -->\n).*?(<!-- end of {name} -->)", re.DOTALL)
    if not pattern.search(content):
        raise ValueError(f"{document} has no section {name}.")
    document.write_text(pattern.sub(lambda found: f"{found[1]}\n{text}\n\n{found[2]}", content), "utf-8")
