"""Eyes, hands and stop-watch of ``scripts/try_panel``, inside Blender.

Hands: ``xdotool`` moves the real pointer and presses real keys. Eyes: Blender does not say where it drew a button, but
it can copy the Python command or the data path of the button under the pointer; so buttons are found by moving the
pointer over a panel, as a person's glance would.

What takes time is a generator that yields seconds to wait or a condition to wait for.
"""

from __future__ import annotations

import subprocess
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import bpy
from bpy_extras.view3d_utils import location_3d_to_region_2d

WORK = Path("/tmp/try")
BEAT = 0.01
#: Seconds between looks while the pointer glides over a panel; software OpenGL draws each highlight.
GLANCE = 0.12
Wait = float | Callable[[], bool]
Steps = Iterator[Wait]


class StopWatch:
    """Longest stalls of the main thread by phase: a timer beats all the while, and gaps between beats are stalls.

    Attributes:
        gaps: phase -> seconds: wall clock; processor time of the main thread; wall clock inside the add-on's code.
    """

    def __init__(self) -> None:
        self.gaps: dict[str, list[float]] = {}
        self._phase = "start"
        self._last = (time.perf_counter(), time.thread_time())
        bpy.app.timers.register(self._beat, persistent=True)

    def enter(self, phase: str) -> None:
        """Count stalls under another name from now on."""
        self._phase = phase
        self._last = (time.perf_counter(), time.thread_time())

    def timed(self, function: Callable) -> Callable:
        """The same function, its calls measured as the add-on's."""

        def wrapper(*arguments: object, **options: object) -> object:
            began = time.perf_counter()
            try:
                return function(*arguments, **options)
            finally:
                self._note(2, time.perf_counter() - began)

        return wrapper

    def _note(self, kind: int, seconds: float) -> None:
        longest = self.gaps.setdefault(self._phase, [0.0, 0.0, 0.0])
        longest[kind] = max(longest[kind], seconds)

    def _beat(self) -> float:
        now = (time.perf_counter(), time.thread_time())
        self._note(0, now[0] - self._last[0])
        self._note(1, now[1] - self._last[1])
        self._last = now
        return BEAT


class Hands:
    """Pointer and keyboard."""

    def __init__(self) -> None:
        self._tool = subprocess.Popen(["xdotool", "-"], stdin=subprocess.PIPE, text=True)

    def do(self, *commands: str) -> None:
        """Have ``xdotool`` carry out commands; returns at once."""
        assert self._tool.stdin is not None
        self._tool.stdin.write("".join(f"{command}\n" for command in commands))
        self._tool.stdin.flush()

    def point(self, x: float, y: float) -> None:
        """Move the pointer; coordinates of Blender's window, y upwards."""
        self.do("mousemove {} {}".format(*from_top(x, y)))

    def drop(self, path: Path, x: float, y: float) -> Steps:
        """Drop a file there, as a file manager does."""
        # The system's own Python has python-xlib, whatever Python comes first.
        command = ["/usr/bin/python3", WORK / "try_panel_drop.py", path, *from_top(x, y)]
        source = subprocess.Popen([str(part) for part in command], stdout=subprocess.PIPE, text=True)
        yield lambda: source.poll() is not None
        assert source.stdout is not None
        assert source.returncode == 0, source.stdout.read()
        yield 2.0

    def click(self, x: float, y: float) -> Steps:
        """Click with the left button."""
        self.point(x, y)
        yield 0.3
        self.do("mousedown 1")
        yield 0.1
        self.do("mouseup 1")
        yield 0.3

    def transform(self, key: str, x: float, y: float, right: float = 0.0, up: float = 0.0) -> Steps:
        """Press a key that moves the selection with the pointer, at x, y; move it so far, and click."""
        self.point(x, y)
        yield 0.3
        yield from self.press(key)
        for share in range(1, 6):
            self.point(x + right * share / 5, y + up * share / 5)
            yield 0.1
        self.do("click 1")
        yield 1.5

    def press(self, *keys: str) -> Steps:
        """Press keys one after the other, such as ``ctrl+z``."""
        for key in keys:
            self.do(f"key {key}")
            yield 0.3


def from_top(x: float, y: float) -> tuple[int, int]:
    """Pixels of the screen, y downwards, of a place in Blender's window, y upwards."""
    return round(x), round(bpy.context.window_manager.windows[0].height - 1 - y)


def drive(plan: Steps, end: Callable[[str | None], None]) -> None:
    """Run a plan's steps from a timer, which undo and opening files do not end.

    ``end`` is told how it ended: None, or the traceback of what stopped it.
    """
    pending: Wait = 0.0
    due = 0.0

    def tick() -> float | None:
        nonlocal pending, due
        try:
            if callable(pending):
                if not pending():
                    return 0.02
            elif time.monotonic() < due:
                return 0.02
            pending = next(plan)
            due = time.monotonic() + (0.0 if callable(pending) else pending)
            return 0.02
        except StopIteration:
            end(None)
        except BaseException:
            traceback.print_exc()
            end(traceback.format_exc())
        return None

    bpy.app.timers.register(tick, first_interval=2.0, persistent=True)


def shoot(name: str) -> Steps:
    """Have a screenshot taken."""
    (WORK / "screenshot").write_text(name)
    yield lambda: not (WORK / "screenshot").exists()


def area_of(kind: str) -> bpy.types.Area:
    """The largest editor of this kind in the first window."""
    areas = [area for area in bpy.context.window_manager.windows[0].screen.areas if area.type == kind]
    return max(areas, key=lambda area: area.width * area.height)


def region_of(area: bpy.types.Area, kind: str = "WINDOW") -> bpy.types.Region:
    """Its region of this kind."""
    return next(region for region in area.regions if region.type == kind)


def view() -> dict[str, Any]:
    """Context of the 3D view in the first window."""
    area = area_of("VIEW_3D")
    return {"window": bpy.context.window_manager.windows[0], "area": area, "region": region_of(area)}


def under_pointer(area: bpy.types.Area, region: bpy.types.Region) -> str:
    """Python command or data path of the button under the pointer; empty where there is none."""
    manager = bpy.context.window_manager
    manager.clipboard = ""
    with bpy.context.temp_override(window=manager.windows[0], area=area, region=region):
        for operator in (bpy.ops.ui.copy_python_command_button, bpy.ops.ui.copy_data_path_button):
            if operator.poll():
                operator()
                break
    return manager.clipboard


def look_for(
    hands: Hands, wanted: str, place: dict[str, float], across: float = 0.4, below: float | None = None
) -> Steps:
    """Glide down the sidebar until the button under the pointer says ``wanted``.

    Args:
        hands: whose pointer.
        wanted: part of the button's Python command or data path.
        place: receives ``x`` and ``y`` in the window.
        across: where to glide, as a share of the sidebar's width.
        below: begin at this height of the window instead of at the top.

    Raises:
        LookupError: no such button.
    """
    area = area_of("VIEW_3D")
    sidebar = region_of(area, "UI")
    x = sidebar.x + across * sidebar.width
    seen = []
    top = sidebar.y + sidebar.height - 12 if below is None else round(below)
    for y in range(top, sidebar.y, -11):
        hands.point(x, y)
        yield GLANCE
        what = under_pointer(area, sidebar)
        seen.append(what)
        if wanted in what:
            # A highlight may lag behind the pointer: stay, and look again.
            yield GLANCE
            if wanted in under_pointer(area, sidebar):
                place.update(x=x, y=y - 2)
                return
    raise LookupError(f"no button {wanted!r} in the sidebar, only {sorted(set(seen))}")


def click_button(hands: Hands, wanted: str, across: float = 0.4, below: float | None = None) -> Steps:
    """Find a button of the sidebar and click it."""
    place: dict[str, float] = {}
    yield from look_for(hands, wanted, place, across, below)
    yield from hands.click(place["x"], place["y"])


def on_screen(point: Any) -> tuple[float, float]:
    """Where a point of the world lies in the window."""
    context = view()
    region = context["region"]
    place = location_3d_to_region_2d(region, context["area"].spaces[0].region_3d, point)
    return region.x + place[0], region.y + place[1]
