"""`--verbose` and the package's log: details for whoever asks, silence for all others."""

import logging
import re
import subprocess
import sys
from pathlib import Path

import pytest

from companion.cli import logs, main
from companion.scenes import export_imagefolder
from faulty_hub import TOKEN, WEIGHTS, FaultyHub, Shell

COMPANION = (sys.executable, "-m", "companion")
PASSWORD = "Gehe1m%21"


@pytest.fixture
def secrets(hub: FaultyHub) -> dict[str, str]:
    """Variables with passwords, beside the token that the shell has."""
    return {
        "HF_ENDPOINT": hub.address.replace("://", f"://zoraida:{PASSWORD}@"),
        "http_proxy": f"http://zoraida:{PASSWORD}@127.0.0.1:9",
        "no_proxy": "127.0.0.1,localhost",
    }


def secrets_in(done: subprocess.CompletedProcess[str]) -> list[str]:
    """What was printed that nobody may see; a part of an address behind its `?` may be signed."""
    private = (TOKEN, PASSWORD, "Gehe1m", "zoraida", "of=", "at=")
    return [secret for secret in private if secret in done.stdout + done.stderr]


@pytest.mark.slow
def test_it_tells_hosts_times_files_and_retries_and_no_secret(
    hub: FaultyHub, shell: Shell, secrets: dict[str, str]
) -> None:
    hub.refuse(503, host="files")
    fetch = (*COMPANION, "fetch", "2", "--profile", "full", "--send-token", "--verbose")
    done = shell(*fetch, **secrets)
    assert done.returncode == 0, done.stderr
    assert any("authorization" in map(str.lower, request.headers) for request in hub.heard)
    host = hub.address.removeprefix("http://")
    for told in (
        f"hub.asking: GET {hub.address}/api/models/google/ddpm-cat-256",
        f"{host} answers 200 after 0.",
        f"/{WEIGHTS} with your token",
        " answers 503; asked again in 1.0 s",
        f"{WEIGHTS}: 1,000,000 bytes from localhost:",
    ):
        assert told in done.stderr
    assert not secrets_in(done)


@pytest.mark.slow
def test_it_tells_what_each_route_answered_and_no_secret(
    shell: Shell, secrets: dict[str, str]
) -> None:
    fetch = (*COMPANION, "fetch", "2", "--profile", "full", "--endpoint", "auto", "--plan", "-v")
    done = shell(*fetch, **secrets)
    assert done.returncode == 0, done.stderr
    assert re.search(r"hub.probe: .*large file of 127.0.0.1:\d+\) works \(\d+ ms\)", done.stderr)
    assert "hub.fetch: http://127.0.0.1" in done.stderr
    assert not secrets_in(done)


@pytest.mark.slow
def test_what_was_broken_off_says_where_it_goes_on(hub: FaultyHub, shell: Shell) -> None:
    hub.cut(300_000)
    done = shell(*COMPANION, "fetch", "2", "--profile", "full", "-v")
    assert "cut the connection; asked again in 1.0 s" in done.stderr
    assert f"/{WEIGHTS} from byte 300,000" in done.stderr


@pytest.mark.slow
def test_without_it_the_command_and_without_a_handler_the_library_tell_nothing_of_it(
    hub: FaultyHub, shell: Shell
) -> None:
    hub.refuse(503, host="files")
    done = shell(*COMPANION, "fetch", "2", "--profile", "full")
    assert "GET" not in done.stdout + done.stderr
    assert "asked again" not in done.stdout + done.stderr
    code = (
        "import logging; from companion.hub import fetch\n"
        "logging.getLogger('companion.hub').warning('nobody asked')\n"
        "fetch(2, 'full', progress=False, verify=True)"
    )
    done = shell(sys.executable, "-c", code)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.slow
def test_training_tells_its_steps_pictures_and_checkpoints(tmp_path: Path) -> None:
    export_imagefolder(tmp_path / "mine", range(8), subset="pets", image_size=16)
    (tmp_path / "settings.toml").write_text(
        """
        image_size = 16
        train_batch_size = 4
        num_epochs = 1
        lr_warmup_steps = 1
        sample_steps = 2
        log_every = 1
        [model]
        layers_per_block = 1
        block_out_channels = [8, 8]
        down_block_types = ["DownBlock2D", "DownBlock2D"]
        up_block_types = ["UpBlock2D", "UpBlock2D"]
        norm_num_groups = 4
        """
    )
    command = [*COMPANION, "train", "mine", "--config", "settings.toml", "--output", "out", "-v"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("2 steps done, loss ")
    for told in (
        "training.setup: UNet2DModel on ",
        "training.log: step 1: loss ",
        "training.evaluation: epoch 1: 16 pictures drawn in ",
        "checkpoint-00000002 written in ",
    ):
        assert told in done.stderr


@pytest.mark.parametrize("arguments", [["-v", "doctor", "Python"], ["doctor", "Python", "-v"]])
def test_it_stands_before_the_command_or_behind_it(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 0
    printed = capsys.readouterr()
    assert "doctor.examine: Python took 0." in printed.err
    assert "took" not in printed.out


def test_a_notice_is_printed_as_it_is_and_a_warning_on_stderr(
    capsys: pytest.CaptureFixture[str],
) -> None:
    logger = logging.getLogger("companion.recipes")
    with logs.shown(verbose=False):
        logger.debug("a detail")
        logger.info("upscaler: PSNR %.2f dB", 21.5)
        logger.warning("http://me:secret@host\x1b is odd")
    logger.info("after the command")
    printed = capsys.readouterr()
    assert printed.out == "upscaler: PSNR 21.50 dB\n"
    assert printed.err == "companion: http://host\\x1b is odd\n"


def test_other_libraries_logs_stay_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    with logs.shown(verbose=True):
        logging.getLogger("httpx").debug("GET https://host/file?Signature=secret")
    assert capsys.readouterr() == ("", "")
