"""Takes the pictures of pages: the chat page during a conversation with a model, the explorer, light, dark and as on a phone, and sections of
reports.

    python3 docs/pictures.py MODEL [--graver PROGRAM] [--browser CHROMIUM] [--out FOLDER] [--all]

Needs nothing but Python and Chromium, which is spoken to over its own protocol, so that an answer comes as fast as it does for anybody. Fails
where a page logs an error, or is wider than its window.
"""

import argparse
import base64
import json
import os
import re
import socket
import struct
import subprocess
import tempfile
import time
import urllib.request
from pathlib import Path

HERE = Path(__file__).parent
# Sections of reports: the picture, what is reported, the section, the height.
SECTIONS = [
    ("graph", ["llama:3.1-8b"], "graph", 900),
    ("memory", ["llama:3.1-8b"], "memory", 500),
    ("comparison", ["deepseek_v3:671b", "--compare", "llama4:maverick"], "comparison", 900),
]
MACHINE = ["--gbps", "60", "--gflops", "1000"]
QUESTIONS = ["What is the capital of France? Answer in one sentence.", "Write a Python function that adds two numbers."]


class Page:
    """A page of a browser without a window."""

    def __init__(self, browser, folder):
        self.process = subprocess.Popen(
            [browser, "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--remote-debugging-port=0", f"--user-data-dir={folder}"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        active = Path(folder) / "DevToolsActivePort"
        wait(lambda: active.exists() and active.read_text().count("\n"))
        port = int(active.read_text().split()[0])
        made = urllib.request.Request(f"http://127.0.0.1:{port}/json/new?about:blank", method="PUT")
        place = json.load(urllib.request.urlopen(made))["webSocketDebuggerUrl"]
        self.socket = socket.create_connection(("127.0.0.1", port))
        path = place.split(str(port), 1)[1]
        key = base64.b64encode(os.urandom(16)).decode()
        self.socket.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode())
        self.stream = self.socket.makefile("rb")
        while self.stream.readline().strip():
            pass
        self.asked = 0
        self.wrong = []
        for domain in ("Page", "Runtime", "Log"):
            self.ask(f"{domain}.enable")

    def ask(self, method, **parameters):
        """Asks the browser, and waits for its answer."""
        self.asked += 1
        data = json.dumps({"id": self.asked, "method": method, "params": parameters}).encode()
        size = struct.pack("!BB", 0x81, 0x80 | len(data)) if len(data) < 126 else struct.pack("!BBH", 0x81, 0xFE, len(data))
        # Masked with zeros, which changes nothing.
        self.socket.sendall(size + b"\0\0\0\0" + data)
        while True:
            answer = json.loads(self.message())
            if answer.get("method") == "Runtime.exceptionThrown" or answer.get("params", {}).get("entry", {}).get("level") == "error":
                self.wrong.append(json.dumps(answer["params"]))
            if answer.get("id") == self.asked:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                return answer["result"]

    def message(self):
        data = b""
        while True:
            first, length = self.stream.read(2)
            if length == 126:
                length, = struct.unpack("!H", self.stream.read(2))
            elif length == 127:
                length, = struct.unpack("!Q", self.stream.read(8))
            data += self.stream.read(length)
            if first & 0x80:
                return data

    def value(self, expression):
        return self.ask("Runtime.evaluate", expression=expression)["result"].get("value")

    def open(self, url, width, height, dark, ready):
        """Opens a page of this size, and waits until `ready` is so."""
        self.width = width
        self.ask("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.ask("Emulation.setEmulatedMedia", features=[scheme])
        self.ask("Page.navigate", url="about:blank")
        self.ask("Page.navigate", url=url)
        wait(lambda: self.value(ready))

    def picture(self, path):
        time.sleep(0.3)
        if self.value("Math.max(document.documentElement.scrollWidth, innerWidth)") > self.width:
            self.wrong.append(f"{path}: the page is wider than its window")
        taken = self.ask("Page.captureScreenshot", format="png")
        path.write_bytes(base64.b64decode(taken["data"]))
        print(path)


def wait(ready, seconds=300):
    end = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > end:
            raise TimeoutError
        time.sleep(0.1)


def started(command):
    """A program that serves a page, and the page's address."""
    program = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    for line in program.stdout:
        if found := re.search(r"http://[\d.:]+", line):
            return program, found[0]
    raise RuntimeError(f"{command} has ended")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--name", default="SmolLM2-135M-Instruct")
    parser.add_argument("--graver", default=HERE.parent / "target/release/graver")
    parser.add_argument("--browser", default="chromium")
    parser.add_argument("--out", type=Path, default=HERE)
    parser.add_argument("--all", action="store_true", help="three widths in both modes, to be looked at; not only what pages show")
    parser.add_argument("--explore", default="llama:3.1-8b")
    o = parser.parse_args()
    looks = [("", 1100, 600, False), ("-dark", 1100, 600, True), ("-phone", 390, 760, False)]
    if o.all:
        looks += [("-phone-dark", 390, 760, True), ("-tablet", 820, 1000, False), ("-tablet-dark", 820, 1000, True)]
    with tempfile.TemporaryDirectory() as folder:
        page = Page(o.browser, folder)
        try:
            program, address = started([o.graver, "serve", o.model, "--port", "0", "--name", o.name])
            try:
                for look, width, height, dark in looks:
                    page.open(address, width, height, dark, "document.body.dataset.ready === 'yes'")
                    page.value("document.getElementById('temperature').value = 0")
                    for count, question in enumerate(QUESTIONS, 1):
                        page.value(f"document.getElementById('say').value = {json.dumps(question)}; document.getElementById('form').requestSubmit()")
                        wait(lambda: page.value("document.querySelectorAll('[data-done=yes]').length") == count)
                    page.picture(o.out / f"serve{look}.png")
            finally:
                program.terminate()
                program.wait()
            command = [o.graver, "explore", o.explore, "--port", "0", *MACHINE]
            program, address = started(command)
            try:
                for look, width, height, dark in looks:
                    page.open(address, width if width < 1000 else 1440, max(height, 1000), dark, "document.body.dataset.ready === 'yes'")
                    click = "[...document.querySelectorAll('.kernel')].find(k => k.textContent.includes('q+k+v')).click()"
                    page.value(click)
                    page.picture(o.out / f"explore{look}.png")
            finally:
                program.terminate()
                program.wait()
            for name, what, section, height in SECTIONS:
                report = Path(folder) / f"{name}.html"
                subprocess.run([o.graver, "report", *what, *MACHINE, "-o", report], check=True)
                page.open(report.as_uri(), 1200, height, False, "document.body.dataset.ready === 'yes'")
                page.value(f"scrollTo({{behavior: 'instant', top: document.getElementById('{section}').offsetTop - 18}})")
                page.picture(o.out / f"report-{name}.png")
            if page.wrong:
                raise SystemExit("\n".join(page.wrong))
        finally:
            page.process.terminate()
            page.process.wait()


if __name__ == "__main__":
    main()
