"""Taking a lock where the file system may know none, as some of a network do."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from filelock import BaseFileLock

# What file systems answer that know no locks.
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL)


def acquire(lock: BaseFileLock, *, blocking: bool) -> None:
    """Take a lock; `lock.is_locked` is False afterwards where the file system knows none.

    Raises:
        Timeout: another process holds it, and `blocking` is False.
        OSError: its file cannot be made or opened.
    """
    from filelock import Timeout

    try:
        lock.acquire(blocking=blocking)
    except Timeout:
        raise
    except NotImplementedError:  # filelock's own word for it
        return
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
