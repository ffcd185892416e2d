"""Requests whose texts are still to be tokenized, and how much of that is done at a time."""

from serving.classifier import Classifier
from serving.encoding import Encoded
from serving.errors import InputError
from serving.pool import Job

POOLED = 256
"""Windows that one request has in the pool before more of it is read: more fill batches better."""
ENCODED_CHARACTERS = 1 << 14
"""Characters that are tokenized between two forward passes: those of several passes."""

Read = list[list[Encoded]] | Exception
"""The windows of each text, or why the request cannot be answered."""


class Reader:
    """Tokenizes the texts of requests in their order, a part of them at a time.

    Not for several threads at once.
    """

    def __init__(self, classifier: Classifier) -> None:
        self._classifier = classifier
        self._unread: list[Job] = []

    def __bool__(self) -> bool:
        return bool(self._unread)

    def add(self, job: Job) -> None:
        """Read this request as well, after those before it."""
        self._unread.append(job)

    def forget_done(self) -> None:
        """Leave those that are encoded to their end, or that nobody waits for any more."""
        self._unread = [job for job in self._unread if job.unanswered and job.unread]

    def read(self) -> list[tuple[Job, Read]]:
        """Tokenize the next texts of the requests; what of them belongs to which request.

        Texts that do not fit what is left of the time stay for another call, and one of them is
        tokenized nevertheless: long texts get on, and who has short ones waits for one long text.
        """
        read: list[tuple[Job, Read]] = []
        left = ENCODED_CHARACTERS
        kept: Job | None = None
        for job in self._unread:
            start = end = job.encoded
            room = min(len(job.texts), job.encoded + POOLED - job.pooled)
            while end < room and job.length(end) <= left:
                left -= job.length(end)
                end += 1
            if start < end:
                read.append((job, self._encoded(job, start, end)))
            elif end < room:
                kept = kept or job
        if kept is not None:
            read.append((kept, self._encoded(kept, kept.encoded, kept.encoded + 1)))
            self._unread.remove(kept)
            self._unread.append(kept)
        return read

    def _encoded(self, job: Job, start: int, end: int) -> Read:
        try:
            pairs = None if job.pairs is None else job.pairs[start:end]
            encoded = self._classifier.encode(job.texts[start:end], pairs, start)
            if self._classifier.long_texts == "reject":
                self._check_length(encoded, start)
        except Exception as error:  # noqa: BLE001 - belongs to this request alone
            return error
        return encoded

    def _check_length(self, encoded: list[list[Encoded]], start: int) -> None:
        for place, [row] in enumerate(encoded, start):
            if row.truncated:
                raise InputError(
                    f"text {place} (counted from 0) is longer than the "
                    f"{self._classifier.encoder.max_length} tokens that the model takes, and this "
                    "endpoint rejects such texts instead of cutting them. Send an excerpt."
                )
