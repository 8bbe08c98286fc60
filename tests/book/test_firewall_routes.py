"""The firewall page prints commands that it does not run, since a reader's machine may lack the
programs. Here they are run as they stand there, against a hub on this machine."""

import hashlib
import os
import re
import shlex
import shutil
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from chapters import BOOK
from jupyter_client.manager import start_new_kernel

from companion.local_hub import LocalHub, LocalModelScope

ADDRESS = "https://hf-mirror.com"
MODEL = "google/ddpm-cat-256"
WEIGHTS = "diffusion_pytorch_model.safetensors"
PAGE = (BOOK / "text" / "behind_the_firewall.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"(?:<!-- run: ([\w-]+) -->\n)?```bash\n(.*?)```", re.DOTALL)


def commands(mark: str) -> str:
    """Give the block of the page that is marked so."""
    (block,) = [text for name, text in BLOCK.findall(PAGE) if name == mark]
    return str(block)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """The model's repository: small files, and the weights in two formats."""
    folder = tmp_path / "served" / MODEL
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    for name in (WEIGHTS, "diffusion_pytorch_model.bin"):
        (folder / name).write_bytes(os.urandom(300_000))
    return folder


@pytest.fixture
def hub(repository: Path) -> Iterator[LocalHub]:
    with LocalHub(repository.parents[1]) as served:
        yield served


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """A home of its own: Git writes its settings there. No proxy before this machine."""
    (tmp_path / "home").mkdir()
    kept = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
    return {**kept, "HOME": str(tmp_path / "home"), "GIT_CONFIG_NOSYSTEM": "1"}


def bash(lines: str, folder: Path, environment: dict[str, str], typed: str = "") -> str:
    """Run lines in a shell; give what they print."""
    folder.mkdir(exist_ok=True)
    done = subprocess.run(
        ["bash", "-euc", lines],
        cwd=folder,
        env=environment,
        input=typed,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, f"{lines}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.mark.parametrize(
    ("mark", "program"), [("curl", "curl"), ("wget", "wget"), ("aria2", "aria2c")]
)
def test_the_command_of_the_page_brings_the_file(
    mark: str,
    program: str,
    hub: LocalHub,
    repository: Path,
    environment: dict[str, str],
    tmp_path: Path,
) -> None:
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not installed")
    assert ADDRESS in commands(mark)
    bash(commands(mark).replace(ADDRESS, hub.address), tmp_path / "here", environment)
    assert (tmp_path / "here" / WEIGHTS).read_bytes() == (repository / WEIGHTS).read_bytes()


def test_the_checksum_that_aria2_can_compare_is_the_one_the_hub_names(
    hub: LocalHub, repository: Path, environment: dict[str, str], tmp_path: Path
) -> None:
    if shutil.which("aria2c") is None:
        pytest.skip("aria2c is not installed")
    assert "\n--checksum=sha-256=...\n" in PAGE
    right = hashlib.sha256((repository / WEIGHTS).read_bytes()).hexdigest()
    for digest, status in ((right, 0), ("0" * 64, 32)):
        option = f"aria2c --allow-overwrite=true --checksum=sha-256={digest}"
        line = commands("aria2").replace("aria2c", option, 1).replace(ADDRESS, hub.address)
        here = tmp_path / str(status)
        here.mkdir()
        done = subprocess.run(
            ["bash", "-euc", line], cwd=here, env=environment, capture_output=True
        )
        assert done.returncode == status


def test_the_git_commands_bring_only_the_weights_asked_for(
    repository: Path, environment: dict[str, str], tmp_path: Path
) -> None:
    if shutil.which("git-lfs") is None:
        pytest.skip("git-lfs is not installed")
    remotes = tmp_path / "remotes" / "google"
    remote, files = shlex.quote(f"{remotes}/ddpm-cat-256"), shlex.quote(str(repository))
    publish = f"""
        git init --quiet --bare {remote}
        git clone --quiet {remote} author
        cd author
        git lfs install --local
        git lfs track "*.safetensors" "*.bin"
        cp {files}/* .
        git add --all
        git -c user.name=a -c user.email=a@example.org commit --quiet --message weights
        git push --quiet origin HEAD:main
        git --git-dir={remote} symbolic-ref HEAD refs/heads/main
    """
    bash(publish, tmp_path / "elsewhere", environment)
    lines = commands("git-lfs").replace(ADDRESS, (tmp_path / "remotes").as_uri())
    bash(lines, tmp_path / "here", environment)
    clone = tmp_path / "here" / "ddpm-cat-256"
    assert (clone / WEIGHTS).read_bytes() == (repository / WEIGHTS).read_bytes()
    assert (clone / "diffusion_pytorch_model.bin").stat().st_size < 200  # Git's note of it


def test_modelscopes_own_program_brings_what_from_pretrained_loads(
    environment: dict[str, str], tmp_path: Path
) -> None:
    if shutil.which("modelscope") is None:
        pytest.skip("modelscope is not installed")
    wanted = {"model_index.json", "unet/config.json", f"unet/{WEIGHTS}", "tokenizer/merges.txt"}
    others = {"v1-5-pruned.safetensors", f"unet/{WEIGHTS.replace('.', '.fp16.', 1)}", "README.md"}
    for name in wanted | others:
        path = tmp_path / "served" / "AI-ModelScope" / "stable-diffusion-v1-5" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(os.urandom(1000))
    with LocalModelScope(tmp_path / "served") as scope:
        address = {"MODELSCOPE_ENDPOINT": scope.address}
        bash(commands("modelscope"), tmp_path / "here", environment | address)
    folder = tmp_path / "here" / "sd-v1-5"
    came = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}
    assert {name for name in came if not name.startswith(".")} == wanted


@pytest.fixture
def index() -> Iterator[tuple[str, list[str]]]:
    """A package index without packages: its address, and the paths that were asked for."""
    asked: list[str] = []

    class Index(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_error(404)

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Index) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/simple", asked
        server.shutdown()


@pytest.mark.parametrize("program", ["pip", "uv"])
def test_the_line_for_a_package_index_sends_the_program_there(
    program: str,
    index: tuple[str, list[str]],
    environment: dict[str, str],
    tmp_path: Path,
) -> None:
    ours = {name: value for name, value in environment.items() if name[:4] not in ("PIP_", "UV_D")}
    python = shlex.quote(sys.executable)
    ask = {
        "pip": f"{python} -m pip download --no-cache-dir",
        "uv": f"{python} -m uv pip install --no-cache --dry-run --python {python}",
    }
    address, asked = index
    line = commands(program).replace("https://pypi.tuna.tsinghua.edu.cn/simple", address)
    line = line.replace("pip config", f"{python} -m pip config")
    bash(f"{line}{ask[program]} nobodys-package || true", tmp_path / "here", ours)
    assert "/simple/nobodys-package/" in asked


def test_the_proxy_for_github_is_for_github_alone(
    environment: dict[str, str], tmp_path: Path
) -> None:
    ask = "git config --get-urlmatch http.proxy https://{}/a/b || true"
    lines = commands("github-proxy") + "\n".join(map(ask.format, ("github.com", "gitlab.com")))
    assert bash(lines, tmp_path / "here", environment) == "http://127.0.0.1:7890\n"


def test_ssh_reads_the_settings_as_github_on_port_443(tmp_path: Path) -> None:
    if shutil.which("ssh") is None:
        pytest.skip("ssh is not installed")
    (block,) = re.findall(r"```\n(Host github.com\n.*?)```", PAGE, re.DOTALL)
    (tmp_path / "config").write_text(block)
    ask = ["ssh", "-G", "-F", str(tmp_path / "config"), "github.com"]
    said = subprocess.run(ask, capture_output=True, text=True, check=True).stdout.splitlines()
    assert {"hostname ssh.github.com", "port 443", "user git"} <= set(said)


def test_a_token_in_its_file_is_found_and_nobody_else_may_read_it(
    environment: dict[str, str], tmp_path: Path
) -> None:
    environment = {k: v for k, v in environment.items() if not k.startswith(("HF_", "XDG_"))}
    ask = "from huggingface_hub import get_token; print(get_token())"
    lines = f"{commands('token')}{shlex.quote(sys.executable)} -c '{ask}'"
    assert bash(lines, tmp_path / "here", environment, typed="hf_of_nobody\n") == "hf_of_nobody\n"
    file = Path(environment["HOME"]) / ".cache" / "huggingface" / "token"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_every_kernel_has_the_variables_of_the_startup_file(
    environment: dict[str, str], tmp_path: Path
) -> None:
    names = ("HF_ENDPOINT", "HF_HUB_DISABLE_XET", "HF_HOME")
    environment = {k: v for k, v in environment.items() if k not in (*names, "IPYTHONDIR")}
    bash(commands("startup"), tmp_path / "here", environment)
    manager, client = start_new_kernel(kernel_name="python3", env=environment)
    try:
        printed: list[str] = []
        code = f"import os\nprint(*(os.environ[name] for name in {names}))"
        client.execute_interactive(
            code, timeout=60, output_hook=lambda m: printed.append(m["content"].get("text", ""))
        )
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
    assert "".join(printed) == f"{ADDRESS} 1 /root/autodl-tmp/huggingface\n"


# What is neither run nor tested, since it needs another machine, a terminal or the real host.
HARMLESS = re.compile(
    r"^(?:export \w+=\S+|read -rs HF_TOKEN && export HF_TOKEN|ssh -R .*|pip install .*"
    r"|apt-get .*|tmux new -s book .*|companion (?:fetch|train) .*|olah-cli .*|find .*|unzip .*"
    r"|git config --global --unset \S+|mkdir more && tar .*|git clone --depth 1 https://github\.com/\S+)$"
)


def test_every_other_line_is_of_a_kind_that_is_known() -> None:
    lines = [line for mark, text in BLOCK.findall(PAGE) if not mark for line in text.splitlines()]
    assert [line for line in lines if not HARMLESS.match(line)] == []
    assert len(lines) > 10
