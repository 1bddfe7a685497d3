#!/usr/bin/env python3
"""Write `backend/manifest.json` anew: sizes and hashes of the data that ship and of the networks that set-up unpacks.

    .venvs/backend/bin/python scripts/make_manifest.py

Run it whenever a body file or a network has changed on purpose; `scripts/publish_weights.py` does. `doctor` holds an
installation against it.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from backend import manifest  # noqa: E402  (after the path)
from backend.prepare.weights import NETWORKS, weights_folder  # noqa: E402


def main() -> int:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    folder = weights_folder()
    networks = {name: folder / f"{name}.safetensors" for name in NETWORKS}
    missing = [name for name, path in networks.items() if not path.is_file()]
    if missing:
        print(f"{', '.join(missing)}: not unpacked yet. Run `python -m backend setup` first.", file=sys.stderr)
        return 1
    manifest.write(networks)
    print(f"{manifest.MANIFEST}: {len(manifest.shipped().files)} files, {len(networks)} unpacked networks")
    return 0


if __name__ == "__main__":
    sys.exit(main())
