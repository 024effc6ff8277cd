"""Schedules by hand: ``python tests/chaos SEED…``, or ``--from 1 --to 1000`` for many, with a table at the end."""

from __future__ import annotations

import argparse
import json
import signal
import sys
import tempfile
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent), str(HERE.parents[1])]

from chaos.play import Outcome, Player  # noqa: E402
from chaos.schedule import schedule_of  # noqa: E402
from chaos.stage import servers  # noqa: E402


def table(outcomes: list[Outcome]) -> str:
    faults = sum((one.faults for one in outcomes), Counter())
    ends = sum((one.ends for one in outcomes), Counter())
    kinds = Counter(one.kind for one in outcomes)
    went_on = [seconds for one in outcomes for seconds in one.went_on]
    lengths = [one.seconds for one in outcomes]
    lines = [
        f"schedules   {len(outcomes)}: " + ", ".join(f"{times} {kind}" for kind, times in kinds.items()),
        "faults      " + ", ".join(f"{times:,} {name}" for name, times in sorted(faults.items())),
        f"looks       {sum(one.looks for one in outcomes):,}, {sum(one.refused for one in outcomes):,} refused",
        f"violations  {sum(bool(one.violations) for one in outcomes)}",
        f"seconds     {median(lengths):.1f} median, {max(lengths):.1f} most",
    ]
    if went_on:
        lines.append(f"went on     {median(went_on):.1f} s median, {max(went_on):.1f} s worst after a region's end")
    return "\n".join([*lines, "ends", *(f"  {times:5} {text}" for text, times in ends.most_common())])


def main() -> int:
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell has what it starts in the background ignore it
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("seeds", nargs="*", type=int)
    parser.add_argument("--from", dest="first", type=int)
    parser.add_argument("--to", dest="last", type=int)
    parser.add_argument("--kind")
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--at-once", type=int, default=1, help="schedules played side by side")
    parser.add_argument("--no-workers", action="store_true", help="no clusters of processes")
    given = parser.parse_args()
    seeds = given.seeds or list(range(given.first, given.last + 1))
    folder = given.folder or Path(tempfile.mkdtemp(prefix="chaos-"))
    player = Player(folder, servers())
    outcomes: list[Outcome] = []
    schedules = [schedule_of(seed, kind=given.kind, workers=not given.no_workers) for seed in seeds]
    if len(schedules) < 4:
        print(*schedules, sep="\n", flush=True)
    pool = ThreadPoolExecutor(given.at_once)
    try:
        for outcome in pool.map(player.play, schedules):
            outcomes.append(outcome)
            with (folder / "outcomes.jsonl").open("a") as file:
                file.write(json.dumps(vars(outcome)) + "\n")
            for wrong in outcome.violations:
                print(f"seed {outcome.seed}: {wrong}", flush=True)
    except KeyboardInterrupt:
        pass
    finally:
        pool.shutdown(cancel_futures=True)
        player.close()
    if outcomes:
        print(table(outcomes))
    return int(any(one.violations for one in outcomes))


if __name__ == "__main__":
    sys.exit(main())
