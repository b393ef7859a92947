"""Tools of the notebooks: data, profiles, preflight, widgets, exercises, guesses, quizzes."""

from ..utils.lazy import exports

__getattr__, __dir__, __all__ = exports(
    __name__,
    {
        "lesson": "open_lesson",
        "mistakes": "explore_mistakes",
        "own_voice": "OwnVoice",
        "quizzes": "quiz",
        "start": "ablation_time preflight",
        "widgets": "LivePlot explore replay show",
    },
)
