"""Draws docs/demo.svg: the demo's last screen, run in a real terminal. `make recording`."""

import io
import os
import pty
import struct
import sys
import termios
from fcntl import ioctl
from pathlib import Path

import pyte
from rich.console import Console
from rich.style import Style
from rich.text import Text

COLUMNS, LINES = 104, 80
TARGET = Path(__file__).with_name("demo.svg")


def record(command: list[str]) -> pyte.Screen:
    """The screen of a terminal after `command` has ended in it."""
    screen = pyte.Screen(COLUMNS, LINES)
    stream = pyte.ByteStream(screen)
    child, terminal = pty.fork()
    if child == 0:
        os.execvpe(  # noqa: S606
            command[0], command, {**os.environ, "TERM": "xterm-256color"}
        )
    ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, COLUMNS, 0, 0))
    while True:
        try:
            said = os.read(terminal, 65536)
        except OSError:
            break
        if not said:
            break
        stream.feed(said)
    _, status = os.waitpid(child, 0)
    if code := os.waitstatus_to_exitcode(status):
        sys.exit(f"{' '.join(command)} ended with {code}")
    return screen


def drawn(screen: pyte.Screen, prompt: str) -> str:
    """SVG of the screen, with `prompt` above it."""
    console = Console(record=True, width=COLUMNS, file=io.StringIO())
    console.print(Text(f"$ {prompt}", style="bold"))
    rows = [screen.buffer[row] for row in range(screen.lines)]
    while rows and not any(cell.data.strip() for cell in rows[-1].values()):
        rows.pop()
    for row in rows:
        line = Text()
        for column in range(screen.columns):
            cell = row[column]
            colour = None if cell.fg == "default" else cell.fg.replace("brown", "yellow")
            line.append(cell.data, Style(color=colour, bold=cell.bold))
        line.rstrip()
        console.print(line, no_wrap=True, overflow="crop")
    return console.export_svg(title="headrace")


if __name__ == "__main__":
    final = record([".venv/bin/headrace", "demo"])
    TARGET.write_text(drawn(final, "make demo"), encoding="utf-8")
    print(TARGET)
