#!/usr/bin/env python3
"""Sends a WAV file as it would be heard, and shows each line of the answer when it comes.

    python3 examples/voice/stream.py examples/voice/requests/.fetched/reading.wav
    python3 examples/voice/stream.py --fast --repeat 20 examples/voice/requests/.fetched/conversation.wav

The second column is how long after the piece that has this moment's sound the line came. With `--fast`
the sound is sent as fast as it is taken, and the last line says how much of it was heard in a second.
Needs Python 3.9 and no package.
"""

import argparse
import http.client
import json
import os
import struct
import threading
import time
import urllib.parse
import wave
from pathlib import Path


class Sender(threading.Thread):
    """Sends the body piece by piece, and remembers when each was sent."""

    def __init__(self, connection, pieces, seconds):
        super().__init__(daemon=True)
        self.connection, self.pieces, self.seconds = connection, pieces, seconds
        self.sent = []

    def run(self):
        begin = time.perf_counter()
        try:
            for index, piece in enumerate(self.pieces):
                # A piece of sound is there when its last sample has been heard.
                time.sleep(max(0.0, begin + index * self.seconds - time.perf_counter()))
                self.sent.append(time.perf_counter())
                self.connection.send(b"%x\r\n%s\r\n" % (len(piece), piece))
            self.connection.send(b"0\r\n\r\n")
        except OSError:
            # The answer says why.
            pass


def pieces(path, milliseconds, repeat):
    """The head, for a length that is not known yet, and then the sound in pieces."""
    with wave.open(str(path)) as file:
        channels, width, rate = file.getnchannels(), file.getsampwidth(), file.getframerate()
        data = file.readframes(file.getnframes())
    frame = channels * width
    yield struct.pack(
        "<4sI4s4sIHHIIHH4sI",
        *(b"RIFF", 0xFFFFFFFF, b"WAVE", b"fmt ", 16, 1, channels, rate, rate * frame, frame, 8 * width),
        *(b"data", 0xFFFFFFFF),
    )
    size = frame * rate * milliseconds // 1000
    for _ in range(repeat):
        for start in range(0, len(data), size):
            yield data[start : start + size]


def main():
    parser = argparse.ArgumentParser(description="Send a WAV file as it would be heard.")
    parser.add_argument("file", type=Path, help="PCM of 16 bits")
    parser.add_argument("--url", default="http://127.0.0.1:8421/f/default/voice")
    parser.add_argument("--piece-ms", type=int, default=20, help="sound in a piece (default %(default)s)")
    parser.add_argument("--fast", action="store_true", help="as fast as it is taken")
    parser.add_argument("--repeat", type=int, default=1, help="send the sound several times in a row")
    arguments = parser.parse_args()

    url = urllib.parse.urlsplit(arguments.url)
    connection = http.client.HTTPConnection(url.netloc)
    connection.putrequest("POST", urllib.parse.urlunsplit(("", "", url.path, url.query, "")))
    connection.putheader("transfer-encoding", "chunked")
    if key := os.environ.get("MODELET_KEY"):
        connection.putheader("authorization", f"Bearer {key}")
    connection.endheaders()
    begin = time.perf_counter()
    seconds = 0 if arguments.fast else arguments.piece_ms / 1000
    sender = Sender(connection, pieces(arguments.file, arguments.piece_ms, arguments.repeat), seconds)
    sender.start()

    answer = connection.getresponse()
    while line := answer.readline():
        now = time.perf_counter()
        event = json.loads(line)
        # The head is a piece too, and so is number 0.
        piece = 1 + event.get("at_ms", 0) // arguments.piece_ms
        if "at_ms" in event and piece < len(sender.sent):
            print(f"{now - begin:8.3f} s  {1000 * (now - sender.sent[piece]):7.1f} ms  {line.decode().rstrip()}")
        else:
            print(f"{now - begin:8.3f} s  {'':10}  {line.decode().rstrip()}")
        if "duration_ms" in event and arguments.fast:
            print(f"{event['duration_ms'] / 1000 / (now - begin):.0f} seconds of sound in a second")


if __name__ == "__main__":
    main()
