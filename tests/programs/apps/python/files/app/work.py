"""Threads, asyncio, processes, files, sqlite3, ssl: what Python programs do. One count for each check that holds."""

import asyncio
import concurrent.futures
import hashlib
import mmap
import multiprocessing
import os
import pathlib
import queue
import signal
import socket
import sqlite3
import ssl
import subprocess
import tempfile
import threading

CHECKS = []


def check(function):
    CHECKS.append(function)
    return function


@check
def threads_share_a_queue():
    jobs, results = queue.Queue(), queue.Queue()
    workers = [threading.Thread(target=lambda: results.put(jobs.get() ** 2)) for _ in range(4)]
    for worker in workers:
        worker.start()
    for number in range(4):
        jobs.put(number)
    for worker in workers:
        worker.join()
    assert sorted(results.queue) == [0, 1, 4, 9]


@check
def pool_hashes():
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        digests = set(pool.map(lambda n: hashlib.sha256(bytes(1 << 16)).hexdigest(), range(8)))
    assert len(digests) == 1


@check
def asyncio_serves_itself_over_tcp():
    async def echo(reader, writer):
        writer.write((await reader.readline()).upper())
        await writer.drain()
        writer.close()

    async def ask(word):
        reader, writer = await asyncio.open_connection("localhost", 8090)
        writer.write(word + b"\n")
        answer = await reader.readline()
        writer.close()
        return answer

    async def main():
        async with await asyncio.start_server(echo, "127.0.0.1", 8090):
            answers = await asyncio.gather(*(ask(b"word%d" % n) for n in range(5)))
        assert answers == [b"WORD%d\n" % n for n in range(5)]
        await asyncio.to_thread(os.stat, "/")

    asyncio.run(main())


@check
def asyncio_runs_a_process():
    async def main():
        process = await asyncio.create_subprocess_exec("/bin/sh", "-c", "read a; echo $a$a", stdin=-1, stdout=-1)
        out, _ = await process.communicate(b"ab\n")
        assert (out, process.returncode) == (b"abab\n", 0)

    asyncio.run(main())


@check
def subprocess_pipes():
    assert subprocess.run(["/bin/busybox", "tr", "a", "b"], input=b"banana", capture_output=True).stdout == b"bbnbnb"


@check
def process_is_forked_and_killed():
    ours, theirs = multiprocessing.Pipe()
    child = multiprocessing.get_context("fork").Process(target=lambda: (theirs.send(os.getpid()), signal.pause()))
    child.start()
    assert ours.recv() == child.pid
    child.terminate()
    child.join()
    assert child.exitcode == -signal.SIGTERM


@check
def unix_sockets_pass_a_descriptor():
    left, right = socket.socketpair()
    with left, right, tempfile.TemporaryFile() as file:
        file.write(b"passed")
        file.flush()
        socket.send_fds(left, [b"x"], [file.fileno()])
        _, descriptors, _, _ = socket.recv_fds(right, 1, 1)
        assert os.pread(descriptors[0], 6, 0) == b"passed"
        os.close(descriptors[0])


@check
def files_are_made_and_removed():
    with tempfile.TemporaryDirectory() as place:
        path = pathlib.Path(place, "a/b")
        path.parent.mkdir()
        path.write_text("text")
        path.chmod(0o600)
        os.symlink("b", path.parent / "c")
        os.utime(path, (1, 1))
        path.rename(path.parent / "d")
        assert sorted(name.name for name in path.parent.iterdir()) == ["c", "d"]
        with open(path.parent / "d", "r+b") as file, mmap.mmap(file.fileno(), 4) as mapped:
            mapped[0:1] = b"T"
            mapped.flush()
        assert (path.parent / "d").read_text() == "Text"


@check
def sqlite_commits():
    with sqlite3.connect("/data/python.db") as database:
        database.execute("create table if not exists t (n)")
        database.execute("delete from t")
        database.executemany("insert into t values (?)", [(n,) for n in range(100)])
    assert database.execute("select sum(n) from t").fetchone() == (4950,)


@check
def timers_and_signals_arrive():
    heard = []
    signal.signal(signal.SIGALRM, lambda number, _: heard.append(number))
    signal.setitimer(signal.ITIMER_REAL, 0.05)
    signal.sigtimedwait([signal.SIGUSR1], 0.5)
    assert heard == [signal.SIGALRM]


@check
def tls_says_hello():
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).wrap_bio(incoming, outgoing, server_hostname="a").do_handshake()
    except ssl.SSLWantReadError:
        assert outgoing.pending > 100


for function in CHECKS:
    try:
        function()
    except Exception as error:
        print(f"FAILED {function.__name__}: {error!r}", flush=True)
        CHECKS[CHECKS.index(function)] = None
print(f"done {len([function for function in CHECKS if function])}", flush=True)
