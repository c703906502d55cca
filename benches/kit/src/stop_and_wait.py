"""A peer that stops and waits, in the language of the reference.

    stop_and_wait.py PACE stop-and-wait-uploader FOLDER
    stop_and_wait.py PACE stop-and-wait-downloader ADDRESS FOLDER NAME...

Chunks of 1 KiB, one acknowledgment for each, receives of 1 KiB. The pace is how
long it is busy with a KiB, in microseconds, beside what receiving and sending take.
"""

import hashlib
import os
import socket
import struct
import sys
import time

PACE_S = int(sys.argv[1]) / 1e6


def be_busy(length):
    end = time.perf_counter() + PACE_S * length / 1024
    while time.perf_counter() < end:
        pass


def upload(connection, folder):
    request = connection.recv(1024)
    name = request[5:69].rstrip(b"\0").decode()
    path = os.path.join(folder, name)
    with open(path, "rb") as file:
        while data := file.read(1024):
            connection.sendall(b"T" + struct.pack("!I", len(data)) + data)
            while (received := connection.recv(1024))[:1] != b"A":
                if not received:
                    return
            be_busy(len(data))
    with open(path, "rb") as file:
        digest = hashlib.sha256(file.read()).hexdigest()
    connection.sendall(b"E" + digest.encode())


def uploader(folder):
    listener = socket.create_server(("127.0.0.1", 0))
    print("listening %s:%d" % listener.getsockname(), flush=True)
    while True:
        connection, _ = listener.accept()
        with connection:
            upload(connection, folder)


def messages(connection):
    gathered = b""
    while True:
        received = connection.recv(1024)
        if not received:
            sys.exit("the uploader closed")
        be_busy(len(received))
        gathered += received
        while gathered:
            if gathered[:1] == b"E":
                length = 65
            elif len(gathered) < 5:
                break
            else:
                length = 5 + struct.unpack("!I", gathered[1:5])[0]
            if len(gathered) < length:
                break
            yield gathered[:length]
            gathered = gathered[length:]


def download(address, path):
    host, port = address.split(":")
    name = os.path.basename(path)
    with socket.create_connection((host, int(port))) as connection:
        encoded = name.encode()
        connection.sendall(b"R" + struct.pack("!I", len(name)) + encoded.ljust(64, b"\0"))
        for message in messages(connection):
            if message[:1] == b"E":
                break
            with open(path, "ab") as file:
                file.write(message[5:])
            connection.sendall(b"A" + struct.pack("!I", 2))
    with open(path, "rb") as file:
        digest = hashlib.sha256(file.read()).hexdigest()
    if message[1:65].decode() != digest:
        sys.exit("the checksum is wrong")


def downloader(address, folder, *names):
    print("begun", flush=True)
    for name in names:
        download(address, os.path.join(folder, name))
    print("done", flush=True)


{"stop-and-wait-uploader": uploader, "stop-and-wait-downloader": downloader}[sys.argv[2]](
    *sys.argv[3:]
)
