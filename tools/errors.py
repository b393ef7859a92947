"""The one error that the tools raise on purpose."""


class ToolError(Exception):
    """A problem in a sentence: what is wrong and how to mend it."""
