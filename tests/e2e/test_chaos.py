"""Schedules of faults against real servers and processes: nothing is lost, nothing counts twice, nobody is stuck.

Each is made from its seed alone: `python tests/chaos SEED` plays one again, `--from 1 --to 1000` many.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest
from chaos.play import Outcome, Player
from chaos.schedule import schedule_of
from chaos.stage import servers

SEEDS = range(1, 21)
# what also comes of a machine that is slower than a schedule's seconds: such a schedule is played once more
LATE = re.compile(
    r"reader was refused when|is still at it|is stuck|nobody says that it was resumed|log does not say so|tells of one"
)


@pytest.fixture(scope="module")
def outcomes(aws_servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[int, Future[Outcome]]]:
    """All at once, a few side by side: most of the time a schedule waits."""
    player = Player(tmp_path_factory.mktemp("chaos"), servers())

    def play(seed: int) -> Outcome:
        outcome = player.play(schedule_of(seed))
        late = outcome.violations and all(LATE.search(one) for one in outcome.violations)
        return player.play(schedule_of(seed)) if late else outcome

    with ThreadPoolExecutor(3) as pool:
        yield {seed: pool.submit(play, seed) for seed in SEEDS}
        pool.shutdown(cancel_futures=True)
    player.close()


@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", SEEDS)
def test_no_schedule_of_faults_loses_or_doubles_anything(outcomes, seed: int) -> None:
    outcome = outcomes[seed].result()
    told = "\n".join(outcome.violations)
    assert not outcome.violations, f"{told}\n{schedule_of(seed)}\nto play it again: python tests/chaos {seed}"


def test_a_schedule_is_made_of_its_seed_alone() -> None:
    assert [schedule_of(seed) for seed in SEEDS] == [schedule_of(seed) for seed in SEEDS]
    assert len({str(schedule_of(seed)) for seed in SEEDS}) == len(SEEDS)
