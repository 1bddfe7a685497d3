"""Install the backend as the add-on's *Install backend* does, without Blender; for trying it on other systems.

Run it with a Python 3.10 to 3.13: ``python scripts/install_backend.py FOLDER``. Standard library only.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from humansplat_blender.install import InstallJob  # noqa: E402  (after the path)


def main() -> int:
    """Install, say what goes on, and give the exit status."""
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("folder", type=Path, help="folder that will hold the environment")
    root = parser.parse_args().folder.resolve()
    job = InstallJob(Path(sys.executable), root, ROOT, root / "install.log")
    job.start()
    label = ""
    try:
        while not job.done:
            if job.label != label:
                label = job.label
                print(f"{label} ...", flush=True)
            time.sleep(0.2)
    except KeyboardInterrupt:
        job.cancel()
        job.wait(10.0)
    for note in job.notes:
        print(note)
    if job.failure is not None:
        print(f"Error: {job.failure.message} {job.failure.fix}\n{job.failure.details}", file=sys.stderr)
        return 1
    print(f"The backend is installed in {root}.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
