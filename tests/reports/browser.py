"""A browser driven over Chromium's DevTools protocol, through a pair of pipes: nothing but Chromium is needed."""

import base64
import json
import os
import select
import shutil
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Any

_NAMES = ('chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable')
_PATIENCE = 120.0  # seconds that one answer may take, on a machine that does much else
MODIFIERS = {'Shift': 8}


def find_browser() -> str | None:
    """The path of a Chromium; None where there is none, or no bash to start it."""
    if not shutil.which('bash'):
        return None
    return next((path for name in _NAMES if (path := shutil.which(name))), None)


class Browser:
    """A headless Chromium with one page."""

    def __init__(self, path: str, profile: Path) -> None:
        from_us, self._to_it = os.pipe()
        self._from_it, to_us = os.pipe()
        flags = [
            '--headless', '--no-sandbox', '--disable-gpu', '--no-first-run', '--disable-dev-shm-usage',
            '--disable-background-networking', '--hide-scrollbars', '--remote-debugging-pipe',
            f'--user-data-dir={profile}', 'about:blank',
        ]  # fmt: skip
        # It reads commands from file 3 and writes answers to file 4.
        command = ['bash', '-c', f'exec "$@" 3<&{from_us} 4>&{to_us}', 'bash', path, *flags]
        self._process = subprocess.Popen(
            command, pass_fds=(from_us, to_us), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        os.close(from_us)
        os.close(to_us)
        self._buffer, self._count, self.events = b'', 0, []
        self._session: str | None = None
        target = self.send('Target.createTarget', url='about:blank')['targetId']
        self._session = self.send('Target.attachToTarget', targetId=target, flatten=True)['sessionId']
        for domain in ('Page', 'Runtime', 'Log', 'Network'):
            self.send(f'{domain}.enable')

    def __enter__(self) -> 'Browser':
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._to_it)  # then it ends
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self._from_it)

    def send(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Call a method; gives its result."""
        self._count += 1
        message = {'id': self._count, 'method': method, 'params': parameters}
        if self._session:
            message['sessionId'] = self._session
        os.write(self._to_it, json.dumps(message).encode() + b'\0')
        while True:
            answer = self._next()
            if answer.get('id') == self._count:
                assert 'error' not in answer, (method, answer['error'])
                return answer['result']
            self.events.append(answer)

    def _next(self) -> dict[str, Any]:
        until = time.monotonic() + _PATIENCE
        while b'\0' not in self._buffer:
            ready, _, _ = select.select([self._from_it], [], [], max(until - time.monotonic(), 0))
            assert ready, 'the browser does not answer'
            received = os.read(self._from_it, 1 << 16)
            assert received, 'the browser has ended'
            self._buffer += received
        answer, _, self._buffer = self._buffer.partition(b'\0')
        return json.loads(answer)

    def open(self, page: Path, width: int = 1000, height: int = 900, scheme: str = 'light') -> None:
        """Load a page and wait until it is there."""
        self.send('Emulation.setDeviceMetricsOverride', width=width, height=height, deviceScaleFactor=1, mobile=False)
        self.send('Emulation.setEmulatedMedia', features=[{'name': 'prefers-color-scheme', 'value': scheme}])
        self.events.clear()
        self.send('Page.navigate', url=page.as_uri())
        while not any(event.get('method') == 'Page.loadEventFired' for event in self.events):
            self.events.append(self._next())

    def run(self, script: str) -> Any:
        """The value of an expression in the page."""
        answer = self.send('Runtime.evaluate', expression=script, returnByValue=True)
        assert 'exceptionDetails' not in answer, answer['exceptionDetails']
        return answer['result'].get('value')

    def press(self, key: str, code: str | None = None, number: int = 0, modifier: str | None = None) -> None:
        """Press and release a key, `number` being what Windows calls it (browsers act on it)."""
        for kind in ('keyDown', 'keyUp'):
            self.send(
                'Input.dispatchKeyEvent', type=kind, key=key, code=code or key, windowsVirtualKeyCode=number,
                modifiers=MODIFIERS[modifier] if modifier else 0,
            )  # fmt: skip

    def drag(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        """Press the mouse, move it and let it go."""
        for kind, (x, y) in (('mousePressed', start), ('mouseMoved', end), ('mouseReleased', end)):
            self.send('Input.dispatchMouseEvent', type=kind, x=x, y=y, button='left', buttons=1, clickCount=1)

    def screenshot(self, whole: bool = False) -> bytes:
        """What is seen, or the whole page, as PNG."""
        return base64.b64decode(self.send('Page.captureScreenshot', captureBeyondViewport=whole)['data'])
