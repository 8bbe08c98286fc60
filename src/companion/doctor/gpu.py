"""The GPU: whether there is one, whether torch can use it, whether it computes rightly."""

import csv
import os
from dataclasses import dataclass

from companion.hub.environment import on_autodl, on_colab
from companion.sources import VARIABLE, gpu_memory

from . import commands
from .finding import Finding, good, problem, warning
from .libraries import installed, requirements
from .probe import Answer, ask, run
from .storage import gigabytes

NVIDIA_SMI_SECONDS = 15.0  # a driver that is loaded for the first time is slow


@dataclass(frozen=True)
class Driver:
    """What NVIDIA's own tool says, which needs no torch.

    Attributes:
        gpu: name of the first GPU, "" where there is none.
        version: of the driver.
        cuda: the newest CUDA that the driver knows, such as "12.4"; "" if it does not say.
        error: how the tool failed; "" if it did not, or is not installed.
    """

    gpu: str = ""
    version: str = ""
    cuda: str = ""
    error: str = ""


def ask_driver() -> Driver:
    """Ask `nvidia-smi`."""
    output, error = run(
        ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"],
        NVIDIA_SMI_SECONDS,
    )
    if error:
        missing = "cannot be started" in error or "No devices were found" in output
        return Driver(error="" if missing else f"{error} {output.strip()}".strip())
    row = next(csv.reader(output.strip().splitlines()), [])
    if len(row) != 2:
        return Driver()
    banner, _ = run(["nvidia-smi"], NVIDIA_SMI_SECONDS)
    _, _, cuda = banner.partition("CUDA Version:")
    return Driver(row[0].strip(), row[1].strip(), (cuda.split() or [""])[0])


def check_gpu() -> list[Finding]:
    """The GPU with its memory, a real kernel run on it, the driver, and bfloat16."""
    if installed("torch") is None:
        install = commands.pip_install([f"torch{requirements()['torch'].range}"])
        return [problem("GPU", "unknown without torch", install)]
    return judge(ask_driver(), ask("gpu"))


def judge(driver: Driver, answer: Answer) -> list[Finding]:
    """What the driver and torch together mean."""
    facts = answer.facts
    if "torch" not in facts:
        text = f"torch cannot be imported: {answer.error}"
        return [problem("GPU", text, _reinstall_torch(driver))]
    if facts.get("device", "cpu") == "cpu":
        return [_no_gpu(driver, answer)]
    memory = f"{gigabytes(facts['total'])}"
    if "free" in facts:
        memory += f", {gigabytes(facts['free'])} free"
    name = f"{facts['name']} ({memory})"
    if not facts.get("kernel_agrees"):
        return [_kernel_failed(name, driver, answer), *_driver_line(driver, answer)]
    if answer.error:
        return [problem("GPU", f"{name} stopped answering: {answer.error}", RESTART)]
    findings = [_right(name, facts["total"])]
    return [*findings, *_driver_line(driver, answer), _bf16_line(answer)]


def _right(name: str, total: int) -> Finding:
    text = f"{name}: a convolution on it gives what the CPU gives"
    if os.environ.get(VARIABLE) != "full":
        return good("GPU", text)
    larger = {chapter: need for chapter, need in gpu_memory("full").items() if need > total}
    if not larger:
        return good("GPU", text)
    needs = (f"chapter {number} takes {gigabytes(need)}" for number, need in larger.items())
    *first, last = map(str, larger)
    chapters = f"{', '.join(first)} and {last}" if first else last
    remedy = f"export {VARIABLE}=small for chapter {chapters}"
    return warning("GPU", f"{text}; {', '.join(needs)}", remedy)


RESTART = "restart the machine, then run the doctor again"


def _no_gpu(driver: Driver, answer: Answer) -> Finding:
    facts = answer.facts
    if answer.error:
        return problem("GPU", f"torch stopped while looking for one: {answer.error}", RESTART)
    if driver.error:
        return problem("GPU", f"the NVIDIA driver does not answer: {driver.error}", RESTART)
    if driver.gpu and os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1"):
        text = f"{driver.gpu} is hidden by CUDA_VISIBLE_DEVICES"
        return warning("GPU", text, "unset CUDA_VISIBLE_DEVICES")
    if driver.gpu and not facts["built_for_cuda"]:
        return problem(
            "GPU",
            f"{driver.gpu} is there, but torch {facts['torch']} is a build without CUDA",
            _reinstall_torch(driver),
        )
    if driver.gpu:
        built = facts["built_for_cuda"]
        known = f", which knows CUDA up to {driver.cuda}" if driver.cuda else ""
        return problem(
            "GPU",
            f"torch, built for CUDA {built}, cannot use {driver.gpu} "
            f"with driver {driver.version}{known}",
            f"a newer driver (https://www.nvidia.com/drivers), or {_reinstall_torch(driver)}",
        )
    if os.environ.get(VARIABLE) == "full":
        remedy = f"export {VARIABLE}=small, or take a machine with a GPU"
        if on_colab():
            remedy = "menu Runtime, Change runtime type, T4 GPU"
        if on_autodl():
            remedy = "start the machine with its GPU (正常开机 in AutoDL's list, not 无卡模式)"
        return problem("GPU", "none, and the full profile needs one", remedy)
    return good("GPU", f"none; the small models run on the CPU ({facts['threads']} threads)")


def _reinstall_torch(driver: Driver) -> str:
    """The command for a build of torch that this driver serves."""
    # PyTorch builds for a few versions of CUDA only; a driver serves all of its major version.
    build = {"13": "cu130", "12": "cu126"}.get(driver.cuda.partition(".")[0])
    if driver.gpu and not build:
        return "choose the build at https://pytorch.org/get-started/locally/"
    index = f"https://download.pytorch.org/whl/{build or 'cpu'}"
    torch = f"torch{requirements()['torch'].range}"
    return commands.pip_install([torch], "--force-reinstall", "--index-url", index)


def _kernel_failed(name: str, driver: Driver, answer: Answer) -> Finding:
    if answer.facts.get("kernel_agrees") is False:
        text = f"{name} computes wrongly: a convolution differs from the CPU's"
        return problem("GPU", text, RESTART)
    if "no kernel image" in answer.error:
        capability = ".".join(map(str, answer.facts.get("capability", [])))
        built = " ".join(answer.facts.get("built_for", []))
        return problem(
            "GPU",
            f"this torch has no programs for {name}: it is of capability {capability}, "
            f"torch is built for {built}",
            _reinstall_torch(driver),
        )
    if "out of memory" in answer.error.lower():
        return problem(
            "GPU",
            f"{name} has no memory left for a small convolution",
            "end the programs that use it: nvidia-smi names them; restart other notebooks' kernels",
        )
    return problem("GPU", f"{name} runs no program: {answer.error}", RESTART)


def _driver_line(driver: Driver, answer: Answer) -> list[Finding]:
    built = answer.facts.get("built_for_cuda")
    if not built or not driver.version:
        return []
    text = f"{driver.version}, knows CUDA up to {driver.cuda or '?'}; torch is built for {built}"
    # Within one major version an older driver still serves newer builds.
    if driver.cuda and int(driver.cuda.split(".")[0]) < int(built.split(".")[0]):
        remedy = f"a newer driver (https://www.nvidia.com/drivers), or {_reinstall_torch(driver)}"
        return [problem("Driver", text, remedy)]
    return [good("Driver", text)]


def _bf16_line(answer: Answer) -> Finding:
    if answer.facts.get("bf16"):
        return good("bfloat16", "the GPU computes in it")
    return good("bfloat16", "not in this GPU's hardware; the book takes float16 or float32 here")
