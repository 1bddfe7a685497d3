#!/usr/bin/env python3
"""Try the corpus of hostile and odd inputs and print a table of what came of them.

    scripts/try_hostile [--only AREA ...] [--every N] [--write-doc]

What came of the cases of an area is kept in out/hostile/AREA.json; --write-doc puts the table of all areas that were
run whole into docs/reliability.md.

An input counts as well treated if it was made, made with a warning, or refused as it should be: with a sentence, with
nothing lost or left behind, and with at most 2 GiB of memory more than a normal input. A crash, an exception, an
exit status other than 0 and 2, or no end within the time counts as badly treated.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "scripts"), str(ROOT / "tests")]
from hostile.cases import Case, judge  # noqa: E402
from hostile.guard.sitecustomize import NOTES  # noqa: E402

AREAS = {
    "pictures": "pictures: formats, sizes, colours, alpha, what they show",
    "paths": "paths, outputs, options",
    "signals": "signals, kills, two at once",
    "packages": "avatar packages",
    "bodies": "body files",
    "weights": "damaged installations: doctor, setup, networks",
    "server": "requests to the server",
    "client": "answers to the add-on's client",
    "installing": "installing: environments, locks, settings",
    "rendering": "options of render, turntable and export",
    "lists": "the list of results",
}
DOCUMENT = ROOT / "docs" / "reliability.md"
KEPT = ROOT / "out" / "hostile"
_BEGIN, _END = "<!-- begin: scripts/try_hostile --write-doc -->", "<!-- end -->"


@dataclass(frozen=True)
class Result:
    """What came of one case; ``wrong`` is empty if it was treated well."""

    area: str
    name: str
    outcome: str
    wrong: str
    seconds: float


def list_cases(area: str, folder: Path) -> list[Case]:
    """The cases of an area; what they need is written below ``folder``."""
    return importlib.import_module(f"hostile.{area}").cases(folder)


def work(area: str, folder: Path, every: int, skip: int) -> None:
    """The worker: try the cases from number ``skip`` on, one JSON line before and after each."""
    if os.environ.get("HUMANSPLAT_HOSTILE_ROOT") != str(folder):
        raise SystemExit("The worker runs under the guard alone: start scripts/try_hostile without --work.")
    lines = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what the product prints must not mix with the lines
    chosen = list_cases(area, folder)[::every]
    print(json.dumps({"count": len(chosen)}), file=lines, flush=True)
    for number, case in enumerate(chosen):
        if number < skip:
            continue
        print(json.dumps({"begin": case.name, "seconds": case.seconds}), file=lines, flush=True)
        own = folder / "cases" / f"{number:03d}"
        own.mkdir(parents=True, exist_ok=True)
        started, outcome = time.perf_counter(), ""
        notes = folder / NOTES
        notes.unlink(missing_ok=True)
        try:
            said = case.run(own)
            outcome, wrong = said.outcome, judge(case, said)
            if notes.exists():
                wrong = f"touched what is not its own: {notes.read_text('utf-8').strip()}"
        except Exception as error:  # whatever it is, it is what the user would have met
            wrong = f"raised {type(error).__name__}: {error}"
        print(
            json.dumps({"end": case.name, "outcome": outcome, "wrong": wrong, "took": time.perf_counter() - started}),
            file=lines,
            flush=True,
        )
    lines.close()


def guarded(folder: Path) -> dict[str, str]:
    """Variables under which Python processes can change nothing outside ``folder``; see ``hostile/guard``."""
    temporary = folder / "tmp"
    temporary.mkdir(exist_ok=True)
    variables = {name: value for name, value in os.environ.items() if not name.startswith("HUMANSPLAT_")}
    return variables | {
        "PYTHONPATH": str(ROOT / "scripts" / "hostile" / "guard"),
        "PYTHONDONTWRITEBYTECODE": "1",
        "HUMANSPLAT_HOSTILE_ROOT": str(folder),
        **dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(temporary)),
    }


def try_area(area: str, every: int) -> list[Result]:
    """Run an area's worker, again after every case that kills or stops it."""
    results: list[Result] = []
    with tempfile.TemporaryDirectory(prefix=f"humansplat-hostile-{area}-") as folder:
        count = None
        while count is None or len(results) < count:
            command = [sys.executable, __file__, "--work", area, "--folder", folder, "--every", str(every)]
            process = subprocess.Popen(
                [*command, "--skip", str(len(results))],
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                cwd=ROOT,
                env=guarded(Path(folder)),
            )
            lines: queue.Queue[str | None] = queue.Queue()
            threading.Thread(target=_read, args=(process, lines), daemon=True).start()
            name, limit = None, 600.0
            while True:
                try:
                    line = lines.get(timeout=limit)
                except queue.Empty:
                    process.kill()
                    if name is None:
                        raise SystemExit(f"The cases of {area} could not be made within {limit:.0f} s.") from None
                    results.append(Result(area, name, "", f"did not end within {limit:.0f} s", limit))
                    break
                if line is None:
                    status = process.wait()
                    if name is not None:
                        results.append(Result(area, name, "", f"the process died with status {status}", 0.0))
                    elif count is None or status:
                        raise SystemExit(f"The cases of {area} could not be made (status {status}).")
                    break
                message = json.loads(line)
                if "count" in message:
                    count = message["count"]
                elif "begin" in message:
                    name, limit = message["begin"], message["seconds"]
                else:
                    results.append(Result(area, name, message["outcome"], message["wrong"], message["took"]))
                    if message["wrong"]:
                        print(f"  {area}/{name}: {message['wrong'][:300]}", flush=True)
                    name, limit = None, 60.0
    return results


def _read(process: subprocess.Popen[bytes], lines: queue.Queue[str | None]) -> None:
    assert process.stdout is not None
    for raw in process.stdout:
        lines.put(raw.decode())
    lines.put(None)


def table(results: list[Result]) -> str:
    """Markdown: a row an area, and the cases that were treated badly."""
    rows = ["| area | tried | made | warned | refused | well | badly |", "|---|---|---|---|---|---|---|"]
    areas = [(text, [r for r in results if r.area == area]) for area, text in AREAS.items()]
    for text, some in [*areas, ("**all**", results)]:
        if some:
            kinds = [sum(r.outcome == kind and not r.wrong for r in some) for kind in ("made", "warned", "refused")]
            well = sum(not r.wrong for r in some)
            rows.append(f"| {text} | {len(some)} | {' | '.join(map(str, kinds))} | {well} | {len(some) - well} |")
    bad = [f"* `{r.area}/{r.name}`: {r.wrong}" for r in results if r.wrong]
    return "\n".join([*rows, "", *(["Treated badly:", "", *bad] if bad else ["None was treated badly."])])


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", choices=AREAS, help="an area (repeatable)")
    parser.add_argument("--every", type=int, default=1, help="take every Nth case of an area")
    parser.add_argument("--write-doc", action="store_true", help=f"put the table into {DOCUMENT.relative_to(ROOT)}")
    parser.add_argument("--work", choices=AREAS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--skip", type=int, default=0, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.work:
        work(arguments.work, arguments.folder, arguments.every, arguments.skip)
        return 0
    started, results = time.perf_counter(), []
    KEPT.mkdir(parents=True, exist_ok=True)
    for area in arguments.only or AREAS:
        some = try_area(area, arguments.every)
        results += some
        if arguments.every == 1:
            (KEPT / f"{area}.json").write_text(json.dumps([asdict(result) for result in some], indent=1), "utf-8")
        print(f"{area}: {sum(not r.wrong for r in some)} of {len(some)} well", flush=True)
    text = table(results)
    print(f"\n{text}\n\n{time.perf_counter() - started:.0f} s")
    if arguments.write_doc:
        kept = [KEPT / f"{area}.json" for area in AREAS]
        missing = [file.stem for file in kept if not file.is_file()]
        if missing:
            raise SystemExit(f"Not all areas were run whole yet: {', '.join(missing)}.")
        text = table([Result(**row) for file in kept for row in json.loads(file.read_text("utf-8"))])
        old = DOCUMENT.read_text("utf-8")
        before, rest = old.split(_BEGIN)
        DOCUMENT.write_text(f"{before}{_BEGIN}\n{text}\n{_END}{rest.split(_END, 1)[1]}", "utf-8")
    return 0 if all(not r.wrong for r in results) else 1


if __name__ == "__main__":
    sys.exit(main())
