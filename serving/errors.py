"""The errors that mean something to whoever asked."""

RETRY_AFTER_SECONDS = 1
"""After which a request that was refused for load may be sent again."""


class InputError(ValueError):
    """Bad input. The message is one paragraph: what was given, the rule, the remedy.

    The command line prints it without a traceback and exits non-zero; the endpoint answers 400.
    """


class TooLargeError(InputError):
    """A body beyond the limit; the endpoint answers 413."""


class TooSlowError(InputError):
    """A body that did not come in time; the endpoint answers 408."""


class UnsupportedEncodingError(InputError):
    """A body in a Content-Encoding that is not read here; the endpoint answers 415."""


class OverloadedError(Exception):
    """Too much waits already. The request was not accepted and can be sent again."""

    def __str__(self) -> str:
        return "too many texts wait for an answer; send the request again later."


class ModelError(Exception):
    """The model cannot answer a text that breaks no rule; the endpoint answers 500."""


class ClientGoneError(Exception):
    """The client closed its connection before it had an answer."""
