"""The HTTP port: bound before anything slow, and closed without resetting a connection."""

import contextlib
import ctypes
import socket
import struct

from serving.errors import InputError

_SO_ATTACH_FILTER = 26  # asm-generic/socket.h; Python has no name for it
# Classic BPF (linux/filter.h): code, jump if true, jump if false, operand. The packet starts at
# the TCP header, whose byte 13 holds the flags.
_DROP_SYN = (
    (0x30, 0, 0, 13),  # load the flags
    (0x45, 0, 1, 0x02),  # SYN?
    (0x06, 0, 0, 0),  # then drop,
    (0x06, 0, 0, 0xFFFFFFFF),  # else keep the whole packet
)


def bound(host: str, port: int, option: str) -> socket.socket:
    """A TCP socket that holds the port and does not listen yet: clients are refused.

    Raises InputError, which names the command line's `option`, when the port cannot be bound.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio sets TCP_NODELAY on connections whose socket names its protocol, and on no others.
    # Without it an answer's body waits 40 ms for the client's delayed acknowledgement of its head.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise InputError(
            f"port {port} of {host} cannot be bound ({error.strerror}). Choose another with "
            f"{option}, or stop what uses it."
        ) from error
    return listener


def take_no_more(listener: socket.socket) -> None:
    """Let no new connection begin, and those that began be accepted as before.

    Closing a listening socket resets the connections that the kernel has completed and nobody has
    accepted yet, with the requests in them. Once this filter drops new ones, a moment of accepting
    empties that queue, and the socket can be closed. Clients see a connection that does not come
    about, which is safe to try again. Where the filter is not allowed nothing changes.
    """
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *line) for line in _DROP_SYN))
    program = struct.pack("HP", len(_DROP_SYN), ctypes.addressof(code))
    with contextlib.suppress(OSError):
        listener.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)
