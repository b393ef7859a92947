import os

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
