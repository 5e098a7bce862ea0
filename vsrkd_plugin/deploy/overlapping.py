"""Reading ahead and writing behind, each in a thread, while the network works."""

import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Generic, TypeVar

T = TypeVar('T')
_END = object()
_PATIENCE = 10.0  # seconds that an error waits for a thread: a signal may have left it without the queue's lock
_LOOK = 0.1  # seconds after which a waiting thread looks whether it is to stop


class Ahead(Generic[T]):
    """Goes through something in a thread, a few items ahead; an error there is raised here, in its place.

    Args:
        items: what to go through.
        size: items ahead, at most.
    """

    def __init__(self, items: Iterable[T], size: int = 2) -> None:
        self._queue: queue.Queue[Any] = queue.Queue(size)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(items,), daemon=True)

    def __enter__(self) -> Iterator[T]:
        self._thread.start()
        return self._items()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stop.set()
        with _ending(self._thread, self._stop):
            self._thread.join(None if error is None else _PATIENCE)

    def _items(self) -> Iterator[T]:
        while True:
            item, error = self._queue.get()
            if error is not None:
                raise error
            if item is _END:
                return
            yield item

    def _run(self, items: Iterable[T]) -> None:
        try:
            for item in items:
                if not _put(self._queue, (item, None), self._stop):
                    return
            _put(self._queue, (_END, None), self._stop)
        except BaseException as error:
            _put(self._queue, (None, error), self._stop)


class Behind:
    """Calls functions in a thread, one after the other; the first error is raised at the next call, or at the end.

    After an error nothing more is called; within a failing `with` what waits is left undone.

    Args:
        size: calls that wait, at most.
    """

    def __init__(self, size: int = 2) -> None:
        self._queue: queue.Queue[Any] = queue.Queue(size)
        self._stop = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> 'Behind':
        self._thread.start()
        return self

    def call(self, function: Callable[..., object], *args: Any) -> None:
        """Have a function called."""
        if not _put(self._queue, (function, args), self._stop):
            self._raise()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with _ending(self._thread, self._stop):
            if error is not None:
                self._stop.set()
            else:
                _put(self._queue, _END, self._stop)
            self._thread.join(None if error is None else _PATIENCE)
        if error is None:
            self._raise()

    def _raise(self) -> None:
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                item = self._queue.get(timeout=_LOOK)
            except queue.Empty:
                continue
            if item is _END:
                return
            function, args = item
            try:
                function(*args)
            except BaseException as error:
                self._error = error
                self._stop.set()


@contextmanager
def _ending(thread: threading.Thread, stop: threading.Event) -> Iterator[None]:
    """Within: a thread is waited for; if a signal comes meanwhile, for what it is at, and not for what waits."""
    try:
        yield
    except BaseException:
        stop.set()
        thread.join(_PATIENCE)
        raise


def _put(to: 'queue.Queue[Any]', item: Any, stop: threading.Event) -> bool:
    """Put an item, waiting for room; False where it is to stop instead."""
    while not stop.is_set():
        try:
            to.put(item, timeout=_LOOK)
            return True
        except queue.Full:
            continue
    return False
