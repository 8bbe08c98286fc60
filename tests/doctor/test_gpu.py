"""What the driver and torch together mean. No GPU is needed: the facts are given."""

from pathlib import Path
from typing import Any

import pytest

from companion.doctor import Finding, Verdict, gpu
from companion.doctor.gpu import Driver
from companion.doctor.probe import Answer

NO_DRIVER = Driver()
DRIVER = Driver(gpu="Tesla T4", version="550.54.15", cuda="12.4")
CPU_BUILD = {"torch": "2.13.0+cpu", "built_for_cuda": None, "threads": 2, "device": "cpu"}
T4: dict[str, Any] = {
    "torch": "2.13.0+cu126",
    "built_for_cuda": "12.6",
    "device": "cuda",
    "name": "Tesla T4",
    "capability": [7, 5],
    "built_for": ["sm_75", "sm_80"],
    "free": 15_000_000_000,
    "total": 15_800_000_000,
    "count": 1,
    "bf16": False,
    "kernel_agrees": True,
}


def first(driver: Driver, facts: dict[str, Any], error: str = "") -> Finding:
    return gpu.judge(driver, Answer(facts, error))[0]


def test_a_gpu_that_computes_rightly_is_good_with_its_memory_driver_and_precision() -> None:
    card, driver, precision = gpu.judge(DRIVER, Answer(T4))
    assert card.text.startswith("Tesla T4 (15.8 GB, 15.0 GB free)")
    assert driver.text == "550.54.15, knows CUDA up to 12.4; torch is built for 12.6"
    assert "not in this GPU's hardware" in precision.text
    assert {f.verdict for f in (card, driver, precision)} == {Verdict.GOOD}


def test_a_gpu_too_small_for_the_full_profile_is_a_warning_with_the_chapters(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    small = T4 | {"total": 8_500_000_000, "free": 8_400_000_000}
    assert first(DRIVER, small).verdict is Verdict.GOOD
    monkeypatch.setenv("COMPANION_PROFILE", "full")
    large = T4 | {"total": 48_000_000_000, "free": 47_000_000_000}
    assert first(DRIVER, large).verdict is Verdict.GOOD
    assert first(DRIVER, T4).text.endswith("; chapter 8 takes 28.0 GB")
    finding = first(DRIVER, small)
    assert finding.verdict is Verdict.WARNING
    assert finding.text.endswith(
        "; chapter 4 takes 9.0 GB, chapter 5 takes 10.0 GB, chapter 7 takes 12.0 GB, "
        "chapter 8 takes 28.0 GB"
    )
    assert finding.remedy == "export COMPANION_PROFILE=small for chapter 4, 5, 7 and 8"


def test_a_gpu_with_bfloat16_says_so() -> None:
    assert gpu.judge(DRIVER, Answer(T4 | {"bf16": True}))[-1].text == "the GPU computes in it"


def test_no_gpu_is_good_for_the_small_profile() -> None:
    assert first(NO_DRIVER, CPU_BUILD).verdict is Verdict.GOOD


def test_no_gpu_is_a_problem_for_the_full_profile(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMPANION_PROFILE", "full")
    assert first(NO_DRIVER, CPU_BUILD).verdict is Verdict.PROBLEM
    monkeypatch.setenv("COLAB_RELEASE_TAG", "release")
    assert "runtime type" in first(NO_DRIVER, CPU_BUILD).remedy


def test_a_torch_without_cuda_beside_a_gpu_is_a_problem() -> None:
    finding = first(DRIVER, CPU_BUILD)
    assert "is a build without CUDA" in finding.text
    index = "https://download.pytorch.org/whl/cu126"
    assert finding.remedy.endswith(f"--index-url {index} 'torch>=2.8'")


def test_a_driver_too_old_for_torch_is_a_problem_with_both_versions() -> None:
    facts = CPU_BUILD | {"torch": "2.13.0", "built_for_cuda": "13.0"}
    finding = first(DRIVER, facts)
    assert finding.verdict is Verdict.PROBLEM
    assert "built for CUDA 13.0" in finding.text
    assert "driver 550.54.15, which knows CUDA up to 12.4" in finding.text
    assert "cu126" in finding.remedy


def test_a_driver_of_the_same_major_version_is_good() -> None:
    assert gpu.judge(DRIVER, Answer(T4))[1].verdict is Verdict.GOOD
    assert gpu.judge(DRIVER, Answer(T4 | {"built_for_cuda": "13.0"}))[1].verdict is Verdict.PROBLEM


def test_a_hidden_gpu_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    finding = first(DRIVER, CPU_BUILD)
    assert finding.verdict is Verdict.WARNING
    assert finding.remedy == "unset CUDA_VISIBLE_DEVICES"


def test_a_gpu_that_torch_was_not_built_for_is_a_problem() -> None:
    facts = {k: v for k, v in T4.items() if k != "kernel_agrees"}
    finding = first(DRIVER, facts, "CUDA error: no kernel image is available for execution")
    assert "of capability 7.5, torch is built for sm_75 sm_80" in finding.text


def test_a_full_gpu_memory_is_a_problem_with_its_own_remedy() -> None:
    facts = {k: v for k, v in T4.items() if k != "kernel_agrees"}
    assert "nvidia-smi" in first(DRIVER, facts, "CUDA out of memory. Tried to").remedy


def test_wrong_results_are_a_problem() -> None:
    assert "computes wrongly" in first(DRIVER, T4 | {"kernel_agrees": False}).text


def test_a_kernel_that_never_ends_is_a_problem() -> None:
    facts = {k: v for k, v in T4.items() if k != "kernel_agrees"}
    assert "no answer within 60 s" in first(DRIVER, facts, "no answer within 60 s").text


def test_a_torch_that_cannot_be_imported_is_installed_anew_by_the_remedy() -> None:
    finding = first(NO_DRIVER, {}, "OSError: libcudart.so.13")
    assert finding.text == "torch cannot be imported: OSError: libcudart.so.13"
    assert "--force-reinstall --index-url https://download.pytorch.org/whl/cpu" in finding.remedy


@pytest.fixture
def nvidia_smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program of that name, first on the path; a test writes it."""
    program = tmp_path / "bin" / "nvidia-smi"
    program.parent.mkdir()
    program.touch(mode=0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
    return program


def test_what_nvidia_smi_prints_is_understood(nvidia_smi: Path) -> None:
    nvidia_smi.write_text(
        '#!/bin/sh\n[ $# -gt 0 ] && echo "Tesla T4, 550.54.15" && exit\n'
        'echo "| NVIDIA-SMI 550.54.15  Driver Version: 550.54.15  CUDA Version: 12.4  |"\n'
    )
    assert gpu.ask_driver() == DRIVER


def test_a_driver_that_hangs_is_an_error_and_not_a_hang(
    nvidia_smi: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpu, "NVIDIA_SMI_SECONDS", 0.5)
    nvidia_smi.write_text("#!/bin/sh\nsleep 60\n")
    assert gpu.ask_driver().error.startswith("no answer within")


def test_a_driver_that_fails_is_an_error_in_its_own_words(nvidia_smi: Path) -> None:
    text = "Failed to initialize NVML: Driver/library version mismatch"
    nvidia_smi.write_text(f'#!/bin/sh\necho "{text}"; exit 18\n')
    assert text in gpu.ask_driver().error
    assert first(gpu.ask_driver(), CPU_BUILD).verdict is Verdict.PROBLEM


def test_a_machine_without_the_tool_has_no_driver(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert gpu.ask_driver() == NO_DRIVER


def test_torch_is_really_asked() -> None:
    (finding, *_) = gpu.check_gpu()
    assert finding.check == "GPU"
    assert finding.verdict is Verdict.GOOD
