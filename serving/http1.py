"""HTTP/1.1 as uvicorn speaks it, where requests keep their bodies and nothing goes on for ever."""

import asyncio

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEAD_BYTES = 1 << 16
"""Bytes of a request beside its body that are read before it is refused: its head, its trailers."""

UNREAD_SECONDS = 30
"""A connection whose client reads nothing of an answer for so long is ended: the rest of the answer
is held in memory, and no limit on requests sees it."""


class Http1Protocol(HttpToolsProtocol):
    """One connection. Offers of another protocol are declined, as RFC 9110 (7.8) lets a server do.

    Java's HttpClient and `curl --http2` offer HTTP/2 with every request. httptools takes what
    follows such a head for the other protocol's, body and all, so the head is read anew without
    the offer.
    """

    _beside = 0
    _headed = False
    _unread = 0
    _watch: asyncio.TimerHandle | None = None

    def data_received(self, data: bytes) -> None:
        """Read the next bytes of the connection."""
        self._unset_keepalive_if_required()
        self._beside += len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserError:
            self.send_400_response("The request is not HTTP/1.1.")
        except httptools.HttpParserUpgrade as offer:
            if self.scope["method"] == "CONNECT":
                self.send_400_response("This is no proxy: CONNECT is not offered here.")
                return
            head = self._head_without_offer()
            self.parser = httptools.HttpRequestParser(self)
            self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn's
            self.data_received(head + data[offer.args[0] :])
        if self._beside > HEAD_BYTES and not self.transport.is_closing():
            self.send_400_response(f"The request's head has more than {HEAD_BYTES} bytes.")

    def pause_writing(self) -> None:
        """An answer is larger than what the client has read of it."""
        super().pause_writing()
        self._watch_reading()

    def resume_writing(self) -> None:
        """Most of it was read."""
        super().resume_writing()
        self._watch_no_more()

    def timeout_keep_alive_handler(self) -> None:
        """Close a connection without a request, as far as its last answer was read."""
        super().timeout_keep_alive_handler()
        if self._watch is None and self.transport.get_write_buffer_size():
            self._watch_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        """End what belongs to the connection."""
        self._watch_no_more()
        super().connection_lost(exc)

    def _watch_reading(self) -> None:
        self._unread = self.transport.get_write_buffer_size()
        self._watch = self.loop.call_later(UNREAD_SECONDS, self._judge_reading)

    def _judge_reading(self) -> None:
        if 0 < self._unread <= self.transport.get_write_buffer_size():
            self.transport.abort()
        else:
            self._watch_reading()

    def _watch_no_more(self) -> None:
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None

    def on_message_begin(self) -> None:
        """Begin a request."""
        self._beside, self._headed = 0, False
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a field of the head; trailers are none of it (RFC 9110, 6.5.1), and nobody asks."""
        if not self._headed:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """The head is whole."""
        self._headed = True
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Take a part of a body."""
        self._beside = 0
        super().on_body(body)

    def _should_upgrade(self) -> bool:
        """Whether to leave a request that offers another protocol to `data_received`."""
        return True

    def _head_without_offer(self) -> bytes:
        version = self.scope["http_version"].encode()
        lines = [b" ".join([self.scope["method"].encode(), self.url, b"HTTP/" + version])]
        for name, value in self.headers:
            if name == b"connection":
                options = (option.strip() for option in value.split(b","))
                value = b", ".join(option for option in options if option.lower() != b"upgrade")
            if name != b"upgrade":
                lines.append(b": ".join([name, value]))
        return b"\r\n".join([*lines, b"", b""])
