"""TLS in front of a server that speaks none, as stunnel does it: what comes in is decrypted and passed on."""

import asyncio
import contextlib
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.kafka import self_signed


@dataclass(frozen=True)
class Certificate:
    """A certificate for 127.0.0.1 that is its own CA, and its key, as files."""

    certificate: Path
    key: Path


def make_certificate(folder: Path, name: str) -> Certificate:
    """A new one under `folder`."""
    certificate, key = self_signed()
    made = Certificate(folder / f"{name}.pem", folder / f"{name}.key")
    made.certificate.write_text(certificate)
    made.key.write_text(key)
    return made


@contextmanager
def tls_front(backend_port: int, own: Certificate, clients: Certificate | None = None) -> Iterator[int]:
    """The port at which `backend_port` of this machine answers by TLS; with `clients`, only to who shows that certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(own.certificate, own.key)
    if clients is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(clients.certificate)
    loop, ports, ready = asyncio.new_event_loop(), list[int](), threading.Event()

    async def serve() -> None:
        server = await asyncio.start_server(_pass_on(backend_port), "127.0.0.1", 0, ssl=context)
        ports.append(server.sockets[0].getsockname()[1])
        ready.set()
        async with server:
            with contextlib.suppress(asyncio.CancelledError):
                await server.serve_forever()

    def run() -> None:
        asyncio.set_event_loop(loop)
        loop.set_exception_handler(lambda *_: None)  # handshakes that fail are what is tested
        with contextlib.suppress(asyncio.CancelledError):
            loop.run_until_complete(task)
        rest = asyncio.all_tasks(loop)
        for each in rest:
            each.cancel()
        loop.run_until_complete(asyncio.gather(*rest, return_exceptions=True))
        loop.close()

    task = loop.create_task(serve())
    thread = threading.Thread(target=run)
    thread.start()
    try:
        assert ready.wait(30), "the front did not come up"
        yield ports[0]
    finally:
        loop.call_soon_threadsafe(task.cancel)
        thread.join(30)


def _pass_on(port: int):  # type: ignore[no-untyped-def]
    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(1 << 16):
                writer.write(data)
                await writer.drain()
        writer.close()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        behind_reader, behind_writer = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(pump(reader, behind_writer), pump(behind_reader, writer))

    return connected
