import asyncio
import socket

import pytest

from serving.errors import InputError
from serving.listener import bound, take_no_more


def test_a_connection_that_nobody_accepted_yet_outlives_the_closing_of_the_port() -> None:
    listener = bound("127.0.0.1", 0, "--http-port")
    listener.listen(8)
    with socket.create_connection(listener.getsockname()) as early, socket.socket() as late:
        early.sendall(b"request")
        take_no_more(listener)
        late.settimeout(0.2)
        with pytest.raises(TimeoutError):
            late.connect(listener.getsockname())
        accepted, _ = listener.accept()
        listener.close()
        with accepted:
            assert accepted.recv(20) == b"request"
            accepted.sendall(b"answer")
            assert early.recv(20) == b"answer"


def test_accepted_connections_send_a_body_without_waiting_for_an_acknowledgement() -> None:
    async def nodelay() -> int:
        accepted: asyncio.Future[int] = asyncio.get_running_loop().create_future()

        async def take(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            connection = writer.get_extra_info("socket")
            accepted.set_result(connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
            writer.close()

        with bound("127.0.0.1", 0, "--http-port") as listener:
            async with await asyncio.start_server(take, sock=listener):
                with socket.create_connection(listener.getsockname()):
                    return await asyncio.wait_for(accepted, 10)

    assert asyncio.run(nodelay()) == 1


def test_a_bound_port_refuses_clients_until_it_listens() -> None:
    with (
        bound("127.0.0.1", 0, "--http-port") as listener,
        socket.socket() as client,
        pytest.raises(ConnectionRefusedError),
    ):
        client.connect(listener.getsockname())


def test_a_taken_port_and_an_unknown_host_are_told_with_the_option_to_change() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(InputError, match=f"port {port} of 127.0.0.1 .* --grpc-port"):
            bound("127.0.0.1", port, "--grpc-port")
    with pytest.raises(InputError, match=r"port 1 of nowhere\.invalid"):
        bound("nowhere.invalid", 1, "--http-port")
