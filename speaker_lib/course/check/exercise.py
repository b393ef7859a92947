"""An exercise: a student's function is tried on the same inputs as the library's, and a wrong answer gets a hint.

Each typical mistake is written down as the function that makes it.  A student's function that answers as a mistake does gets that
mistake's hint; any other gets the shape or the first value that is wrong.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from ...utils.errors import escape_controls, first_line, short_repr
from ...utils.language import translate

Function = Callable[..., object]
# In every language a verdict begins with one of these two marks.
RIGHT, WRONG = "✓ Right: ", "✗ Not yet: "
YOUR_TURN = "✗ Your turn: "  # and the task, where the exercise was not begun


class _Unusable(Exception):
    """What a student's function did instead of giving an answer, as a sentence."""


@dataclass(frozen=True)
class Exercise:
    """One function to write. Calling the exercise with a student's function prints `verdict`, and never raises an error."""

    name: str
    right: Function  # the library's own function
    trials: Sequence[tuple]  # the arguments of each trial
    tried: str  # what a right answer was held against: the end of the sentence "Right: …"
    mistakes: Sequence[tuple[str, Function]]  # hints, and the functions that make the mistakes

    def __call__(self, function: Function) -> None:
        """Prints the verdict on a student's function."""
        print(self.verdict(function))

    def verdict(self, function: Function) -> str:
        """One sentence on a student's function, which begins with `RIGHT`, `WRONG` or `YOUR_TURN`."""
        if not callable(function):
            said = "hand over the function itself, not what it returns: check.{name}({name})."
            return translate(WRONG) + translate(said, name=self.name)
        try:
            answers = [_outcome(function, trial) for trial in self.trials]
        except NotImplementedError as task:
            return translate(YOUR_TURN) + escape_controls(str(task) or translate("write this function."))
        expected = [_outcome(self.right, trial) for trial in self.trials]
        if _all_equal(answers, expected):
            return translate(RIGHT) + translate(self.tried)
        for hint, mistake in self.mistakes:
            if _all_equal(answers, [_outcome(mistake, trial) for trial in self.trials]):
                return translate(WRONG) + translate(hint)
        wrong = next(i for i, pair in enumerate(zip(answers, expected, strict=True)) if not _equal(*pair))
        return translate(WRONG) + _difference(answers[wrong], expected[wrong], self.trials[wrong])


def _outcome(function: Function, arguments: tuple) -> torch.Tensor | Exception:
    """The answer as a float64 tensor, or the error that there was instead. NotImplementedError is raised."""
    given = copy.deepcopy(arguments)  # a function that changes its arguments spoils no other trial
    try:
        answer = function(*given)
    except NotImplementedError:
        raise
    except Exception as error:
        return error
    if answer is None:
        return _Unusable(translate("it returns nothing: end it with `return` and the answer."))
    try:
        answer = torch.as_tensor(answer).detach().to("cpu", torch.float64)
    except (TypeError, ValueError, RuntimeError):
        return _Unusable(translate("it returns a {kind}: return one number or one tensor.", kind=type(answer).__name__))
    if not all(map(_unchanged, arguments, given)):
        said = "it changes its argument in place, and the caller's tensor with it: work on a copy, `.clone()`."
        return _Unusable(translate(said))
    return answer


def _unchanged(before: object, after: object) -> bool:
    return not isinstance(before, torch.Tensor | np.ndarray) or bool((before == after).all())


def _all_equal(answers: list, others: list) -> bool:
    return all(map(_equal, answers, others))


def _equal(answer: torch.Tensor | Exception, other: torch.Tensor | Exception) -> bool:
    """Whether two outcomes are the same: errors of one type, or the same shape and values up to rounding."""
    if isinstance(answer, Exception) or isinstance(other, Exception):
        return type(answer) is type(other) and not isinstance(answer, _Unusable)
    if answer.numel() == other.numel() == 1:  # a number, in whatever brackets
        answer, other = answer.reshape(()), other.reshape(())
    return answer.shape == other.shape and torch.allclose(answer, other, rtol=1e-4, atol=1e-5, equal_nan=True)


def _difference(answer: torch.Tensor | Exception, expected: torch.Tensor, trial: tuple) -> str:
    """What is wrong with an answer that no listed mistake gives, in one sentence."""
    if isinstance(answer, Exception):
        said = escape_controls(first_line(answer))
        if isinstance(answer, _Unusable):
            return said
        return translate("it stops with {kind}: {said}", kind=type(answer).__name__, said=said)
    lists = any(hasattr(value, "__len__") for value in trial)
    numbers = translate("these inputs") if lists else ", ".join(map(short_repr, trial))
    shapes = {"shape": tuple(answer.shape), "expected": tuple(expected.shape)}
    if answer.shape != expected.shape and expected.numel() > 1:
        return translate("its answer has the shape {shape}, it should have {expected}.", **shapes)
    if answer.numel() == 1:
        said = "for {inputs} it gives {value:.6g}, it should give {expected:.6g}."
        return translate(said, inputs=numbers, value=answer.item(), expected=expected.item())
    if answer.shape != expected.shape:
        return translate("its answer has the shape {shape}, it should be one number.", **shapes)
    at = tuple(torch.isclose(answer, expected, rtol=1e-4, atol=1e-5).logical_not().nonzero()[0].tolist())
    place = ", ".join(map(str, at))
    said = "the shape is right, but its answer[{place}] is {value:.6g}, it should be {expected:.6g}."
    return translate(said, place=place, value=answer[at].item(), expected=expected[at].item())
