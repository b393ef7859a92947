"""Your own voice: people record themselves in the notebook, are enrolled, and the run says who speaks.

In: recordings, from the microphone of the browser or from files.  Out: sentences.  The panel, `OwnVoice.show`, is a thin shell
around methods that work without it; ``own_voice.js`` is its part in the browser, which needs no ffmpeg and no server.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from ..evaluation.book import BOOK, Book, Reference
from ..evaluation.enrolment import calibrate, make_entries, recognise
from ..evaluation.recordings import SHORTEST_ENROLMENT, read_recording
from ..evaluation.text import threshold_text
from ..sound.features import FRAMES_PER_SECOND
from ..sound.reading import SAMPLE_RATE, read_audio
from ..training.run import Run, digest
from ..utils.errors import ConfigError, SpeakerError, is_text, short_repr
from ..utils.files import create_file
from ..utils.language import ENGLISH, language, messages, translate
from ..utils.optional import optional
from ..utils.progress import log
from .lesson import Lesson

_SCRIPT = Path(__file__).with_suffix(".js")
_STILL = """\
<fieldset disabled style="max-width: 40em">
<legend>Your own voice: a picture of the panel, which works where this notebook runs</legend>
<p><label>Name <input size="12"></label> <button>● Record {n} s</button> <button>Choose a file …</button></p>
<ul><li>Nobody yet: three recordings of each person are enough.</li></ul>
<p><button>Enrol</button></p><hr>
<p><button>Who is this?</button> <button>Ask of a file …</button></p>
<p><button>Delete all recordings</button></p>
</fieldset>"""
_NOT_IN_NAMES = set('/\\:*?"<>|')  # a name is that of a folder, too
_DRIVE = Path("/content/drive")


@contextlib.contextmanager
def as_file(samples: np.ndarray, rate: int) -> Iterator[Path]:
    """A WAV file of (samples,) float at ``rate`` Hz, as long as the block lasts; errors inside call it "this recording"."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "recording.wav"
        path.write_bytes(_wav(samples, rate))
        try:
            yield path
        except SpeakerError as problem:
            raise SpeakerError(str(problem).replace(str(path), "this recording")) from problem


class OwnVoice:
    """The recordings of people at this computer, in the folder ``own-voice`` of a lesson's runs, and the book made of them.

    The threshold is calibrated on ``reference``.  ``seconds`` is the length of a recording in the panel.
    """

    def __init__(self, lesson: Lesson, run: Run, reference: Reference, seconds: float = 10) -> None:
        # What is deleted on Google Drive stays in its bin.
        runs = Path("runs") if _DRIVE in lesson.runs.parents else lesson.runs
        self.folder, self.device = runs / "own-voice", lesson.device
        self.run, self.reference, self.seconds = run, reference, seconds

    def people(self) -> dict[str, list[Path]]:
        """The recordings of each person who was recorded, by name."""
        found: dict[str, list[Path]] = {}
        for path in sorted(self.folder.glob("*/*.wav")):
            found.setdefault(path.parent.name, []).append(path)
        return found

    def add(self, recording: str | os.PathLike[str], name: str) -> str:
        """Keeps a copy of a recording of a person; says how much speech is in it.

        Raises ConfigError for a name that cannot be used, SpeakerError for a recording that is short, silent or there already.
        """
        name = _check_name(name)
        seconds = len(read_recording(Path(recording), SHORTEST_ENROLMENT)) / FRAMES_PER_SECOND
        content, people = _wav(read_audio(recording).samples, SAMPLE_RATE), self.people()
        for other, paths in people.items():
            if any(path.read_bytes() == content for path in paths):
                raise SpeakerError(f"{recording} is among the recordings of {other} already: take another one.")
        (self.folder / BOOK).unlink(missing_ok=True)  # it would not know this recording
        create_file(self.folder / name / f"{len(people.get(name, ())) + 1:03}.wav", content)
        return translate("Recorded: {name}, {seconds:.1f} s of speech, pauses not counted.", name=name, seconds=seconds)

    def enrol(self) -> str:
        """Makes the book of all people who were recorded; says the threshold and its error rates. Raises SpeakerError."""
        people = self.people()
        if not people:
            raise SpeakerError("there is no recording to enrol anybody by: record somebody first.")
        made = [make_entries(self.run, name, paths, self.device) for name, paths in people.items()]
        entries = tuple(entry for own, _ in made for entry in own)
        vectors = np.concatenate([vectors for _, vectors in made])  # (recordings, d)
        book = Book(digest(self.run.weights()), entries, vectors, self.reference)
        book.save(self.folder / BOOK)
        threshold = calibrate(self.reference, len(people), book.recordings_each)
        enrolled = translate("Enrolled: {people}.", people=translate(", ").join(people))
        return f"{enrolled}\n{threshold_text(threshold, self.reference)}"

    def who_is_this(self, recording: str | os.PathLike[str]) -> str:
        """The name of who speaks in a recording, or nobody; on a second line the score and the threshold. Keeps no copy.

        Raises SpeakerError if nobody is enrolled, or for a recording that is too short or silent.
        """
        if not (self.folder / BOOK).exists():
            if self.people():
                raise SpeakerError("these recordings are not enrolled yet: enrol, then ask again.")
            raise SpeakerError("nobody was recorded yet: record somebody, enrol, then ask again.")
        book = Book.open(self.folder / BOOK, self.run)
        threshold = calibrate(self.reference, len(book.people), book.recordings_each)
        (found,) = recognise(self.run, book, [recording], self.device, most=1)
        if isinstance(found, SpeakerError):
            raise found
        ((best, score),) = found.scores
        said = "threshold {threshold:.3f}: {rate:.0%} of strangers would be accepted"
        rule = translate(said, threshold=threshold.score, rate=threshold.false_accepts)
        if found.name(threshold.score) is None:
            said = "nobody in the book\nthe most similar is {best}, score {score:.3f}; {rule}"
            return translate(said, best=best, score=score, rule=rule)
        return translate("{best}\nscore {score:.3f}; {rule}", best=best, score=score, rule=rule)

    def delete_all(self) -> str:
        """Deletes all recordings and the book."""
        if self.folder.exists():
            shutil.rmtree(self.folder)
        return translate("All recordings are deleted, and what was enrolled by them.")

    def show(self) -> None:
        """Shows the panel, and says how the same is done with files; without anywidget only the latter."""
        said = "With files: own.add('ada1.wav', 'ada'); print(own.enrol()); print(own.who_is_this('x.wav')); own.delete_all()"
        print(translate(said))
        try:
            anywidget = optional("anywidget", "recording in the notebook")
        except SpeakerError as problem:
            log(translate("There is no panel: {problem}", problem=problem))
            return
        optional("IPython.display", "showing the panel").display(self._panel(anywidget))

    def _panel(self, anywidget):
        import traitlets  # which anywidget needs, too

        class Panel(anywidget.AnyWidget):
            _esm = _SCRIPT.read_text(encoding="utf-8")
            seconds = traitlets.Float(self.seconds).tag(sync=True)
            texts = traitlets.Dict(_panel_texts()).tag(sync=True)
            state = traitlets.Dict(self._state(0)).tag(sync=True)

            def _repr_mimebundle_(self, **options: object) -> tuple[dict[str, object], dict[str, object]]:
                shown, metadata = super()._repr_mimebundle_(**options)
                said = translate("The panel to record your own voice.")
                return shown | {"text/html": _still(self.seconds), "text/plain": said}, metadata

        panel = Panel()
        panel.on_msg(self._clicked)
        return panel

    def _clicked(self, panel, content: dict[str, object], buffers: Sequence[memoryview]) -> None:
        """Does what a button of the panel says; samples come as float32."""
        message, answer = translate("This failed: the notebook's log says why."), ""
        try:
            if content["do"] == "enrol":
                message = self.enrol()
            elif content["do"] == "delete":
                message = self.delete_all()
            else:
                with as_file(np.frombuffer(buffers[0], np.float32), round(content["rate"])) as path:
                    if content["do"] == "add":
                        message = self.add(path, content["name"])
                    else:
                        message, answer = "", self.who_is_this(path)
        except SpeakerError as problem:
            message = translate(str(problem))
        finally:  # else the buttons would wait for ever
            panel.state = self._state(panel.state["clicks"] + 1, message, answer)

    def _state(self, clicks: int, message: str = "", answer: str = "") -> dict[str, object]:
        """What the panel shows."""
        info = optional("soundfile", "reading recordings").info
        people = []
        for name, paths in self.people().items():
            said = "{name}: 1 recording, {seconds:.0f} s" if len(paths) == 1 else "{name}: {n} recordings, {seconds:.0f} s"
            people.append(translate(said, name=name, n=len(paths), seconds=sum(info(path).duration for path in paths)))
        return {"clicks": clicks, "people": people, "folder": str(self.folder), "message": message, "answer": answer}


def _panel_texts() -> dict[str, str]:
    """What the panel says in the reader's language, by the English texts of its script."""
    return {} if language() == ENGLISH else messages(language(), "panel")


def _still(seconds: float) -> str:
    """A picture of the panel in HTML, for a page that does not run."""
    made = _STILL
    for text, other in sorted(_panel_texts().items(), key=lambda pair: -len(pair[0])):
        made = re.sub(f"(?<=>){re.escape(text)}(?=[ <])", other, made)
    return made.replace("{n}", f"{seconds:g}")


def _wav(samples: np.ndarray, rate: int) -> bytes:
    file = io.BytesIO()
    optional("soundfile", "writing a recording").write(file, samples, rate, format="WAV", subtype="PCM_16")
    return file.getvalue()


def _check_name(name: str) -> str:
    name = name.strip()
    if not name or len(name) > 40 or name[0] == "." or not is_text(name) or _NOT_IN_NAMES & set(name):
        raise ConfigError(f"{short_repr(name)} cannot be a name here: use letters, digits and spaces, 40 at most.")
    return name
