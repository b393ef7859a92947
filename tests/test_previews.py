"""The pictures of README and of links to the site: made by code, small, and as long as they say."""

from types import SimpleNamespace

import numpy as np
from PIL import Image

from speaker_lib.sound import SAMPLE_RATE
from tools.previews import CARD, MOTION, write_card, write_motion
from tools.project import ROOT


def test_lesson_1_in_motion_lasts_twenty_seconds_and_is_small(uninterrupted, tmp_path):
    noise = np.random.default_rng(0).normal(0, 0.1, (2, 3 * SAMPLE_RATE)).astype(np.float32)
    lesson = SimpleNamespace(voices=lambda: [("a", noise[0]), ("b", noise[1])], run=lambda name: uninterrupted)
    write_motion(lesson, tmp_path / "motion.webp")
    milliseconds = 0
    with Image.open(tmp_path / "motion.webp") as picture:
        for frame in range(picture.n_frames):
            picture.seek(frame)
            picture.load()
            milliseconds += picture.info["duration"]
        assert picture.n_frames == 12 + len(uninterrupted.metrics()) and abs(milliseconds - 20_000) < 500
    assert (ROOT / MOTION).stat().st_size < 1_500_000


def test_the_card_has_the_size_that_networks_crop_to(tmp_path):
    write_card(tmp_path / "card.png")
    with Image.open(tmp_path / "card.png") as made, Image.open(ROOT / CARD) as committed:
        assert made.size == (1280, 640) == committed.size
        assert np.asarray(made.convert("L"))[[0, -1]].min() > 250  # nothing reaches the edge
