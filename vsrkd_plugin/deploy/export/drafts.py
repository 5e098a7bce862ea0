"""What a target makes: files under temporary names, that can be run before they get their own."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from vsrkd_plugin.deploy.export.verifying import Runner
from vsrkd_plugin.errors import UserError
from vsrkd_plugin.run.whole_files import put_in_place


@dataclass(frozen=True)
class Draft:
    """Files that are whole, but not yet where they belong.

    Attributes:
        files: temporary name → name; the first is the one that the user named.
        runtime: what runs them, with its version.
        run: them, in one thread.
        any_batch: they take a batch; else one picture at a time.
        any_size: they pad by themselves where the network asks for certain sizes.
    """

    files: Mapping[Path, Path]
    runtime: str
    run: Runner
    any_batch: bool = True
    any_size: bool = True

    @property
    def size(self) -> int:
        """Bytes of all files, before they are published."""
        return sum(file.stat().st_size for file in self.files)

    def publish(self) -> None:
        """Give the files their names, each whole.

        Raises:
            UserError: that is not possible.
        """
        try:
            graph, *others = self.files.items()
            if others:  # an older graph must not meet the new weights, whenever the process ends
                graph[1].unlink(missing_ok=True)
            for temporary, name in (*others, graph):
                put_in_place(temporary, name)
        except OSError as error:
            raise UserError(f'{next(iter(self.files.values()))}: cannot be written ({error.strerror})') from error
