"""A headless Chromium over its debugging pipe: no ports, no driver, no further library."""

import base64
import fcntl
import json
import os
import select
import shutil
import subprocess
import sys
import time

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage"),
    "--remote-debugging-pipe",
)
# the browser reads commands from descriptor 3 and answers on 4
START = (
    "import os, sys; os.dup2(int(sys.argv[1]), 3); os.dup2(int(sys.argv[2]), 4); os.execvp(sys.argv[3], sys.argv[3:])"
)
ABOVE = 10  # descriptors are moved here, out of the way of 3 and 4
WAIT = 60.0  # seconds for an answer


def find():
    """Path of a Chromium, or None."""
    return next(filter(None, map(shutil.which, NAMES)), None)


class Browser:
    """One tab. `problems` is everything that went to its console as an error, was thrown, or asked of the network."""

    def __init__(self, program, profile):
        (commands, self._to), (self._from, answers) = os.pipe(), os.pipe()
        moved = [fcntl.fcntl(end, fcntl.F_DUPFD, ABOVE) for end in (commands, answers)]
        order = [sys.executable, "-c", START, *map(str, moved), program, *FLAGS, f"--user-data-dir={profile}"]
        quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self._process = subprocess.Popen(order, pass_fds=moved, **quiet)
        for end in (commands, answers, *moved):
            os.close(end)
        self._buffer, self._last, self._session = b"", 0, None
        self.problems = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method, **parameters):
        """Result of a command."""
        self._last += 1
        message = {"id": self._last, "method": method, "params": parameters}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._read()
            if answer.get("id") == self._last:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']['message']}")
                return answer["result"]

    def open(self, path, width=1200, height=900, mobile=False):
        """Show a file, and wait until it is there."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": mobile}
        self.call("Emulation.setDeviceMetricsOverride", **size)
        self.call("Page.navigate", url=path.as_uri())
        self.wait("document.readyState === 'complete' && location.protocol === 'file:'")

    def js(self, expression):
        """Value of JavaScript."""
        made = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in made, made["exceptionDetails"]
        return made["result"].get("value")

    def wait(self, expression):
        """Wait until JavaScript is true."""
        until = time.monotonic() + WAIT
        while not self.js(expression):
            assert time.monotonic() < until, f"not within {WAIT:g} s: {expression}"
            time.sleep(0.02)

    def mouse(self, kind, x, y, **more):
        """An event of the mouse: mouseMoved, mousePressed, mouseReleased, mouseWheel."""
        self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, **more)

    def drag(self, start, end):
        """Press at one place, move to another, let go."""
        held = {"button": "left", "buttons": 1, "clickCount": 1}
        self.mouse("mouseMoved", *start)
        self.mouse("mousePressed", *start, **held)
        for step in (0.5, 1.0):
            self.mouse("mouseMoved", *(a + step * (b - a) for a, b in zip(start, end, strict=True)), **held)
        self.mouse("mouseReleased", *end, button="left", clickCount=1)

    def key(self, name):
        """Press a key."""
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=name)

    def picture(self, path, whole=False):
        """A PNG of what is to be seen, or of the whole page."""
        made = self.call("Page.captureScreenshot", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(made["data"]))

    def close(self):
        """End the browser."""
        try:
            self._session = None
            self.call("Browser.close")
        except (OSError, RuntimeError, EOFError):
            self._process.kill()
        self._process.wait(WAIT)
        os.close(self._to)
        os.close(self._from)

    def _read(self):
        """The next message; what it says of problems is kept."""
        while b"\0" not in self._buffer:
            if not select.select([self._from], [], [], WAIT)[0]:
                raise RuntimeError(f"the browser said nothing for {WAIT:g} s")
            part = os.read(self._from, 1 << 16)
            if not part:
                raise EOFError("the browser is gone")
            self._buffer += part
        text, _, self._buffer = self._buffer.partition(b"\0")
        message = json.loads(text)
        method, said = message.get("method"), message.get("params", {})
        if method == "Runtime.exceptionThrown":
            self.problems.append(said["exceptionDetails"])
        elif method == "Log.entryAdded" or (method == "Runtime.consoleAPICalled" and said["type"] != "log"):
            self.problems.append(said)
        elif method == "Network.requestWillBeSent" and not said["request"]["url"].startswith(("data:", "file:")):
            self.problems.append(said["request"]["url"])
        return message
