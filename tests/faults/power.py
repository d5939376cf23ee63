"""Power loss, enumerated: what a disk may hold after a crash, given the operations a writer did and the syncs it asked for.

A file's data is safe once the file is synced; a folder's entries (made, renamed, removed) once the folder is. What is not yet
safe may be on the disk or not, in any combination; unsynced data may be absent, torn or whole.
"""

import itertools
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from genctl.durable import FS, Pieces

Op = tuple  # ("mkdir", path) ("create", path, data) ("sync", path) ("rename", a, b) ("link", target, path) ("remove", path) ("ack", step)


@dataclass
class LogFS(FS):
    """Does what FS does and writes it down. `skip`: the number of the sync that is left out (a mutant of the writer)."""

    log: list[Op] = field(default_factory=list)
    skip: int = -1
    syncs: int = 0

    def mkdir(self, path: Path) -> None:
        super().mkdir(path)
        self.log.append(("mkdir", path))

    def write(self, path: Path, data: Pieces) -> None:
        self.log.append(("create", path, b"".join(data)))
        super().write(path, data)

    def sync(self, fd: int) -> None:
        if self.syncs != self.skip:
            self.log.append(("sync", Path(os.readlink(f"/proc/self/fd/{fd}"))))
        self.syncs += 1

    def rename(self, old: Path, new: Path) -> None:
        super().rename(old, new)
        self.log.append(("rename", old, new))

    def link(self, target: str, path: Path) -> None:
        super().link(target, path)
        self.log.append(("link", target, path))

    def remove(self, path: Path) -> None:
        inside = sorted(path.rglob("*")) if path.is_dir() and not path.is_symlink() else []
        super().remove(path)
        for p in [*reversed(inside), path]:
            self.log.append(("remove", p))


class Node:
    """An inode: a folder with entries, or a file with data."""

    def __init__(self, data: bytes | str | None = None) -> None:
        self.data, self.entries = data, {} if data is None else None


@dataclass
class Pending:
    """A change that is not safe yet: of a folder's entries, or of a file's data."""

    node: Node
    names: dict = field(default_factory=dict)  # entry name -> Node, or None when it goes
    data: bytes | None = None


class Disk:
    """Replays a log. `root` exists from the beginning."""

    def __init__(self, root: Path) -> None:
        self.root, self.top = root, Node()
        self.pending: list[Pending] = []
        self.live: dict[Path, Node] = {root: self.top}  # as the running system sees it

    def do(self, op: Op) -> None:
        kind, path = op[0], op[1]
        if kind in ("mkdir", "create", "link"):
            where = op[2] if kind == "link" else path
            node = Node(None if kind == "mkdir" else b"" if kind == "create" else f"-> {path}")
            self.live[where] = node
            self.pending.append(Pending(self.live[where.parent], {where.name: node}))
            if kind == "create":
                self.pending.append(Pending(node, data=op[2]))
        elif kind == "rename":
            old, new = path, op[2]
            moved = {p: n for p, n in self.live.items() if p == old or old in p.parents}
            for p in moved:
                del self.live[p]
            self.live |= {new / p.relative_to(old): n for p, n in moved.items()}
            self.pending.append(Pending(self.live[old.parent], {old.name: None, new.name: self.live[new]}))
        elif kind == "remove":
            del self.live[path]
            self.pending.append(Pending(self.live[path.parent], {path.name: None}))
        elif kind == "sync":
            node = self.live[path]
            kept, safe = [p for p in self.pending if p.node is not node], [p for p in self.pending if p.node is node]
            for p in safe:
                self.apply(p, 2)
            self.pending = kept

    def apply(self, change: Pending, how: int) -> None:
        """how: 0 lost, 1 torn (data only), 2 done."""
        if change.data is not None:
            change.node.data = (b"", change.data[: len(change.data) // 2] + b"\0" * 8, change.data)[how]
        elif how == 2:
            for name, node in change.names.items():
                change.node.entries.pop(name, None)
                if node is not None:
                    change.node.entries[name] = node

    def crashes(self, most: int = 4096) -> Iterator[dict[str, bytes | str | None]]:
        """Every state a crash now may leave, as relative path -> contents (None: a folder)."""
        choices = [(0, 1, 2) if p.data is not None else (0, 2) for p in self.pending]
        for chosen in itertools.islice(itertools.product(*choices), most):
            kept = {id(n): (n.data, None if n.entries is None else dict(n.entries)) for n in self._nodes()}
            for change, how in zip(self.pending, chosen, strict=True):
                self.apply(change, how)
            yield dict(self._walk(self.top, ""))
            for n in self._nodes():
                if id(n) in kept:
                    n.data, n.entries = kept[id(n)]

    def _nodes(self) -> list[Node]:
        found = {id(self.top): self.top}
        stack = [self.top, *(p.node for p in self.pending), *(n for p in self.pending for n in p.names.values() if n)]
        while stack:
            node = stack.pop()
            found[id(node)] = node
            stack += [n for n in (node.entries or {}).values() if id(n) not in found]
        return list(found.values())

    def _walk(self, node: Node, base: str) -> Iterator[tuple[str, bytes | str | None]]:
        for name, child in (node.entries or {}).items():
            path = f"{base}{name}"
            yield path, child.data
            if child.entries is not None:
                yield from self._walk(child, path + "/")


def lay_out(state: dict[str, bytes | str | None], place: Path) -> None:
    """Writes a state to a real folder."""
    place.mkdir()
    for path, data in state.items():
        target = place / path
        if data is None:
            target.mkdir()
        elif isinstance(data, str):
            target.symlink_to(data.removeprefix("-> "))
        else:
            target.write_bytes(data)
