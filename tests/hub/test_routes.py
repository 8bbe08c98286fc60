"""The other ways to a file that the book shows, with the real programs: what each does when the
connection is cut, and what it does not notice."""

import shlex
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from faulty_hub import MODEL, SIZE, WEIGHTS, FaultyHub, Shell


@pytest.fixture
def url(hub: FaultyHub) -> str:
    return f"{hub.address}/{MODEL}/resolve/main/{WEIGHTS}"


def in_cache(shell: Shell) -> list[Path]:
    home = Path(shell.environment["HF_HOME"])
    return list(home.glob(f"hub/*/snapshots/*/{WEIGHTS}"))


def test_hf_download_takes_the_files_asked_for(shell: Shell, weights: bytes) -> None:
    done = shell("hf", "download", MODEL, "--include", "*.safetensors", "--local-dir", "cat")
    assert done.returncode == 0, done.stderr
    files = [path.name for path in (shell.folder / "cat").iterdir() if path.is_file()]
    assert files == [WEIGHTS]
    assert (shell.folder / "cat" / WEIGHTS).read_bytes() == weights


def test_hf_download_tells_what_it_would_do(hub: FaultyHub, shell: Shell) -> None:
    done = shell("hf", "download", MODEL, "--exclude", "*.bin", "--dry-run")
    assert done.returncode == 0, done.stderr
    assert WEIGHTS in done.stdout
    assert ".bin" not in done.stdout
    assert hub.requests("files") == []


def test_hf_download_goes_on_after_a_cut(hub: FaultyHub, shell: Shell, weights: bytes) -> None:
    hub.cut(after=300_000)
    done = shell("hf", "download", MODEL, WEIGHTS)
    assert done.returncode == 0, done.stderr
    assert in_cache(shell)[0].read_bytes() == weights


def test_hf_download_starts_again_from_zero_when_it_was_killed(
    hub: FaultyHub, shell: Shell
) -> None:
    """`companion fetch` does not: see test_faults."""
    hub.stall(after=600_000)
    command = ["hf", "download", MODEL, WEIGHTS]
    process = subprocess.Popen(
        command, cwd=shell.folder, env={**shell.environment, "HF_HUB_DOWNLOAD_TIMEOUT": "30"}
    )
    deadline = time.monotonic() + 30
    while hub.sent() < 600_000 and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert in_cache(shell) == []
    assert shell(*command).returncode == 0
    assert hub.requests("files")[-1].range == ""
    assert hub.sent() == 600_000 + SIZE


def test_hf_download_keeps_nothing_of_a_file_that_failed(hub: FaultyHub, shell: Shell) -> None:
    hub.cut(after=600_000)  # the library asks again,
    hub.refuse(503, times=9)  # and is refused
    command = ["hf", "download", MODEL, WEIGHTS]
    assert shell(*command).returncode == 1
    assert [line.status for line in hub.requests("files")] == [200, 503]
    assert list(Path(shell.environment["HF_HOME"]).rglob("*.incomplete")) == []
    hub.faults.clear()
    assert shell(*command).returncode == 0
    assert hub.requests("files")[-1].range == ""


def test_hf_download_takes_a_flipped_byte_and_hf_cache_verify_finds_it(
    hub: FaultyHub, shell: Shell, weights: bytes
) -> None:
    """The library compares sizes; `companion fetch` compares checksums: see test_faults."""
    hub.flip()
    assert shell("hf", "download", MODEL, WEIGHTS).returncode == 0
    (file,) = in_cache(shell)
    assert file.read_bytes() != weights
    verified = shell("hf", "cache", "verify", MODEL)
    assert verified.returncode == 1
    assert f"{WEIGHTS}: expected" in verified.stdout


def test_curl_goes_on_where_it_was_cut(
    hub: FaultyHub, shell: Shell, url: str, weights: bytes
) -> None:
    hub.cut(after=300_000)
    command = ["curl", "--silent", "--location", "--remote-name", "--continue-at", "-", url]
    assert shell(*command).returncode == 18  # "partial file", says its manual
    assert shell(*command).returncode == 0
    assert (shell.folder / WEIGHTS).read_bytes() == weights
    assert hub.sent() == SIZE


def test_curl_without_location_fetches_the_redirect_only(shell: Shell, url: str) -> None:
    assert shell("curl", "--silent", "--remote-name", url).returncode == 0
    assert (shell.folder / WEIGHTS).stat().st_size == 0


def test_wget_goes_on_by_itself(hub: FaultyHub, shell: Shell, url: str, weights: bytes) -> None:
    hub.cut(after=300_000)
    assert shell("wget", "--quiet", "--continue", url).returncode == 0
    assert (shell.folder / WEIGHTS).read_bytes() == weights
    assert hub.sent() == SIZE


def test_aria2_fetches_in_parts_and_goes_on_by_itself(
    hub: FaultyHub, shell: Shell, url: str, weights: bytes
) -> None:
    hub.cut(after=100_000)
    command = ["aria2c", "--quiet", "--continue=true", "-x4", "-s4", "--retry-wait=1"]
    done = shell(*command, f"--out={WEIGHTS}", url)
    assert done.returncode == 0, done.stderr
    assert (shell.folder / WEIGHTS).read_bytes() == weights
    assert not (shell.folder / f"{WEIGHTS}.aria2").exists()


def test_aria2_compares_the_checksum_it_is_given(hub: FaultyHub, shell: Shell, url: str) -> None:
    headers = shell("curl", "--silent", "--head", url).stdout.splitlines()
    (etag,) = (line for line in headers if line.startswith("X-Linked-Etag"))
    sha256 = etag.split('"')[1]
    hub.flip()
    done = shell("aria2c", "--quiet", f"--checksum=sha-256={sha256}", f"--out={WEIGHTS}", url)
    assert done.returncode == 32  # "checksum validation failed", says its manual


@pytest.fixture
def remote(shell: Shell, tmp_path: Path, repositories: Path) -> Path:
    """A repository as the hub keeps them, on this disk: large files in Git LFS, small ones not."""
    bare, work = shlex.quote(str(tmp_path / "remote.git")), shlex.quote(str(tmp_path / "author"))
    lines = [
        f"git init --quiet --bare {bare}",
        f"git clone --quiet {bare} {work}",
        f"cd {work}",
        "git lfs install --local",
        "git lfs track '*.safetensors' '*.bin'",
        f"cp {shlex.quote(str(repositories / MODEL))}/*.* .",
        "git add --all",
        "git -c user.name=a -c user.email=a@example.org commit --quiet --message first",
        "git push --quiet origin HEAD:main",
        f"git --git-dir={bare} symbolic-ref HEAD refs/heads/main",
    ]
    shell("git-lfs", "version")  # skips where it is missing
    done = shell("bash", "-ec", "\n".join(lines))
    assert done.returncode == 0, done.stderr
    return tmp_path / "remote.git"


def test_git_lfs_fetches_every_format_of_the_weights(shell: Shell, remote: Path) -> None:
    shell("git", "lfs", "install")
    done = shell("git", "clone", "--quiet", f"file://{remote}", "cat")
    assert done.returncode == 0, done.stderr
    large = {path.name for path in (shell.folder / "cat").glob("*.*") if _size(path) == SIZE}
    assert large == {WEIGHTS, "diffusion_pytorch_model.bin"}


def test_git_lfs_can_leave_the_weights_out_and_fetch_some(
    shell: Shell, remote: Path, weights: bytes
) -> None:
    shell("git", "lfs", "install")
    clone = ["git", "clone", "--quiet", "--depth=1", f"file://{remote}", "cat"]
    done = shell(*clone, GIT_LFS_SKIP_SMUDGE="1")
    assert done.returncode == 0, done.stderr
    assert _size(shell.folder / "cat" / WEIGHTS) < 200  # Git's note of the file
    done = shell("git", "-C", "cat", "lfs", "pull", "--include", "*.safetensors")
    assert done.returncode == 0, done.stderr
    assert (shell.folder / "cat" / WEIGHTS).read_bytes() == weights
    assert _size(shell.folder / "cat" / "diffusion_pytorch_model.bin") < 200


def test_git_lfs_clone_of_the_notes_is_deprecated(shell: Shell, remote: Path) -> None:
    done = shell("git", "lfs", "clone", f"file://{remote}", "cat")
    assert "deprecated" in done.stdout + done.stderr


def test_the_old_command_of_the_notes_is_gone(shell: Callable[..., Any]) -> None:
    # huggingface_hub 1 still has a program of that name, which only says so.
    assert shell("bash", "-c", f"huggingface-cli download {MODEL}").returncode != 0


def _size(path: Path) -> int:
    return path.stat().st_size
