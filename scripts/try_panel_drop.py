"""Drops a file on a window, as a file manager does: the source of an X11 drag (XDND, version 5).

    python3 try_panel_drop.py FILE X Y

Needs python-xlib. The pointer is moved to X, Y of the screen; the window there is told of the drag and of the drop, and
reads the file's address. Exit status 0 when it says that it has taken the file, or has not said so in time.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from Xlib import X, display
from Xlib.protocol import event


def main() -> int:
    """Drag, drop, answer."""
    path, x, y = Path(sys.argv[1]).resolve(), int(sys.argv[2]), int(sys.argv[3])
    server = display.Display()
    root = server.screen().root

    def atom(name: str) -> int:
        return server.intern_atom(name)

    source = root.create_window(0, 0, 1, 1, 0, X.CopyFromParent, event_mask=X.PropertyChangeMask)
    source.set_selection_owner(atom("XdndSelection"), X.CurrentTime)
    root.warp_pointer(x, y)
    server.sync()
    target = root
    while True:  # down to the window that takes drops
        if target.get_full_property(atom("XdndAware"), X.AnyPropertyType):
            break
        child = target.query_pointer().child
        if not child:
            print("no window takes drops there")
            return 2
        target = child

    def tell(name: str, *data: int) -> None:
        words = [source.id, *data, 0, 0, 0, 0][:5]
        message = event.ClientMessage(window=target, client_type=atom(name), data=(32, words))
        target.send_event(message, event_mask=0)
        server.flush()

    tell("XdndEnter", 5 << 24, atom("text/uri-list"))
    tell("XdndPosition", 0, (x << 16) | y, X.CurrentTime, atom("XdndActionCopy"))
    dropped, began = False, time.monotonic()
    while time.monotonic() - began < 20:
        if not server.pending_events():
            time.sleep(0.02)
            continue
        what = server.next_event()
        if what.type == X.SelectionRequest:
            content = (path.as_uri() + "\r\n").encode()
            what.requestor.change_property(what.property, what.target, 8, content)
            answer = event.SelectionNotify(
                time=what.time, requestor=what.requestor, selection=what.selection, target=what.target,
                property=what.property,
            )  # fmt: skip
            what.requestor.send_event(answer)
            server.flush()
        elif what.type == X.ClientMessage and what.client_type == atom("XdndStatus"):
            if what.data[1][1] & 1 and not dropped:  # it takes the file
                dropped = True
                tell("XdndDrop", 0, X.CurrentTime)
        elif what.type == X.ClientMessage and what.client_type == atom("XdndFinished"):
            return 0
    print("dropped, and never finished" if dropped else "the window refuses the file")
    return 0 if dropped else 3


if __name__ == "__main__":
    sys.exit(main())
