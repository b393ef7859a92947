import os
import time
from pathlib import Path

import pytest

from speaker_lib.errors import ConfigError, SpeakerError
from speaker_lib.parallel import parallel_map


@pytest.mark.parametrize("workers", [1, 2])
def test_results_come_in_order(workers):
    assert list(parallel_map(abs, [-3, 1, -2], "Count", "number", workers)) == [3, 1, 2]


def test_a_worker_that_dies_is_a_sentence():
    with pytest.raises(SpeakerError, match="fewer workers"):
        list(parallel_map(os._exit, [1, 1], "Die", "worker", 2))


def test_at_least_one_worker_is_needed():
    with pytest.raises(ConfigError, match="workers is 0"):
        list(parallel_map(abs, [1], "Count", "number", 0))


def work_on(path: Path) -> None:
    path.touch()
    time.sleep(0.3)


def test_after_an_interruption_nothing_new_begins(tmp_path):
    results = parallel_map(work_on, [tmp_path / str(i) for i in range(12)], "Work", "piece", workers=2, ahead=0)
    next(results)
    results.close()
    time.sleep(3)  # in which two workers could do all the rest
    assert 2 <= len(list(tmp_path.iterdir())) <= 3
