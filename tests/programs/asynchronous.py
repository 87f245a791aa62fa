# Python's asyncio: one thread, a server and thirty clients at a time, by epoll.

import asyncio
import sys


async def serve(reader, writer):
    while octets := await reader.read(10_000):
        writer.write(octets)
        await writer.drain()
    writer.close()
    await writer.wait_closed()


async def ask(port, number):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    sent = bytes([number]) * (1000 * number + 1)
    writer.write(sent)
    writer.write_eof()
    got = await reader.read()
    writer.close()
    await writer.wait_closed()
    return got == sent


async def main():
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    right = await asyncio.gather(*(ask(port, number) for number in range(30)))
    server.close()
    await server.wait_closed()
    print(sum(right))
    return 7


sys.exit(asyncio.run(main()))
