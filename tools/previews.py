"""Pictures of the course for those who have not opened it yet: lesson 1 in motion, and the card that a link to the site shows."""

from __future__ import annotations

import io
from pathlib import Path

from PIL import Image

from speaker_lib.config.presets import PRESETS
from speaker_lib.course.lesson import Lesson
from speaker_lib.plots import architecture_figure, utterance_figure
from speaker_lib.plots.runs import curves_figure
from speaker_lib.plots.style import Figure, new_figure
from speaker_lib.sound import log_mel
from speaker_lib.utils.files import replacing

MOTION, CARD = "docs/figures/lesson1.webp", "docs/figures/card.png"
_SECONDS, _WIDTH = 20, 720  # of the motion picture; its width in pixels
_SLIDES = 12  # places of the slider
_CARD = (1280, 640)  # pixels, as social networks crop it


def write_motion(lesson: Lesson, path: Path) -> None:
    """Lesson 1's slider from left to right, then the live plot of its training, as an animated picture that repeats."""
    mel, other = (log_mel(waveform) for _, waveform in lesson.voices())  # (frames, n_mels) each
    run = lesson.run("baseline")
    last, rows = len(mel) - 128, run.metrics()
    figures = [utterance_figure(mel, round(last * i / (_SLIDES - 1)), other=other) for i in range(_SLIDES)]
    figures += [curves_figure(run, rows[:count]) for count in range(1, len(rows) + 1)]
    pictures = [_picture(figure) for figure in figures]
    height = max(picture.height for picture in pictures)
    frames = [_on_white(picture, (_WIDTH, height)) for picture in pictures]
    with replacing(path) as file:
        frames[0].save(
            file, format="WEBP", save_all=True, append_images=frames[1:], loop=0, quality=60, method=3,
            duration=round(1000 * _SECONDS / len(frames)),
        )  # fmt: skip


def write_card(path: Path) -> None:
    """The question of the course above the drawing of its model."""
    title, middle = new_figure(1.1), {"ha": "center", "va": "center"}
    title.text(0.5, 0.66, "Who is speaking?", fontsize=32, weight="bold", **middle)
    title.text(0.5, 0.14, "A course on speaker identification: which of the four changes did it?", fontsize=14, **middle)
    heading = _picture(title, _CARD[0] - 120)
    model = _picture(architecture_figure(PRESETS["tuned"], changed_from=PRESETS["baseline"]), 800)
    card = Image.new("RGB", _CARD, "white")
    card.paste(heading, (60, 16))
    card.paste(model, ((_CARD[0] - model.width) // 2, heading.height + 44))
    with replacing(path) as file:
        card.quantize(256, dither=Image.Dither.NONE).save(file, format="PNG", optimize=True)


def _picture(figure: Figure, width: int = _WIDTH) -> Image.Image:
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=150)
    picture = Image.open(file).convert("RGB")
    return picture.resize((width, round(picture.height * width / picture.width)), Image.Resampling.LANCZOS)


def _on_white(picture: Image.Image, size: tuple[int, int]) -> Image.Image:
    sheet = Image.new("RGB", size, "white")
    sheet.paste(picture, (0, (size[1] - picture.height) // 2))
    return sheet
