"""The one error that means: what you gave cannot be used, and here is what to do."""


class InputError(ValueError):
    """Bad input. The message is one paragraph: what was given, the rule, the remedy.

    The command line prints it without a traceback and exits non-zero; the endpoint answers 400.
    """
