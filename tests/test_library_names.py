"""Names of other libraries that they do not promise to keep: each stands in one module of the
package, and an upgrade that takes one away is seen here."""

import ast
import atexit
import json
import subprocess
import sys
from collections import defaultdict
from importlib.machinery import PathFinder
from inspect import isgeneratorfunction, signature
from pathlib import Path
from types import SimpleNamespace

import datasets
import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from datasets import naming
from diffusers import DiffusionPipeline, StableDiffusionPipeline
from diffusers.pipelines import auto_pipeline
from PIL import Image, ImageFile
from torch import nn
from torch.optim import SGD
from torch.optim.lr_scheduler import LambdaLR, SequentialLR, StepLR

from companion.door.compiled import is_compiled, make_eager, uncompiled
from companion.hub import asking, listing, reasons

PACKAGE = Path(__file__).parents[1] / "src" / "companion"
PRIVATE = {
    "_actions": "cli/completion.py",
    "_callback_tensor_inputs": "autopipeline/live_arguments.py",
    "_compiled_call_impl": "door/compiled.py",
    "_data_files": "training/rows.py",
    "_dynamo": "door/compiled.py",
    "_execution_device": "attention/attributing.py",
    "_growth_tracker": "training/checkpoint.py",
    "_guidance_scale": "autopipeline/drawing.py",
    "_is_accelerate_prepared": "training/setup.py",
    "_is_amx_tile_supported": "autopipeline/deciding.py",
    "_is_avx512_bf16_supported": "autopipeline/deciding.py",
    "_last_lr": "training/state.py",
    "_orig_mod": "door/compiled.py",
    "_progress_bar_config": "finetuning/drawing.py",
    "_reset_state": "training/setup.py",
    "_run_exitfuncs": "cli/console.py",
    "_schedulers": "training/state.py",
    "_step_count": "training/state.py",
    "_vendor": "doctor/libraries.py",
}
# Documented all the same: Python's own, a named tuple's, and keys of files and of the hub's API.
PUBLIC = {"_exit", "_replace", "_class_name", "_attn_implementation", "_id"}
OURS = {"_idx", "_proxy"}  # ends of names


def private_names() -> dict[str, list[str]]:
    """The modules in which each private name stands that the package does not define itself."""
    trees = {
        path.relative_to(PACKAGE).as_posix(): ast.parse(path.read_text(encoding="utf-8"))
        for path in sorted(PACKAGE.rglob("*.py"))
    }
    own, found = set(OURS | PUBLIC), defaultdict(set)
    for module, tree in trees.items():
        for node in ast.walk(tree):
            match node:
                case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
                    own.add(name)
                case ast.Name(id=name, ctx=ast.Store()):
                    own.add(name)
                case ast.Attribute(value=ast.Name(id="self"), attr=name, ctx=ast.Store()):
                    own.add(name)
                case ast.Attribute(attr=name) | ast.Constant(value=str(name)):
                    found[name].add(module)
                case ast.ImportFrom(module=str(source), names=names, level=0):
                    for name in (*source.split("."), *(alias.name for alias in names)):
                        found[name].add(module)
    return {
        name: sorted(modules)
        for name, modules in found.items()
        if name.isidentifier() and name[0] == "_" and name[:2] != "__" and name not in {*own, "_"}
    }


def test_each_private_name_stands_in_one_module() -> None:
    assert private_names() == {name: [module] for name, module in PRIVATE.items()}


def test_exceptions_are_called_as_they_are_known_by() -> None:
    library = sys.modules[asking.request_error().__module__.partition(".")[0]]
    names = {*reasons.CUT, *listing.CUT, "ConnectTimeout", "ProxyError", "DecodingError"}
    for name in names:
        assert issubclass(getattr(library, name), asking.request_error())
    assert issubclass(library.InvalidURL, Exception)


def test_what_huggingface_hub_has_read_is_where_it_is_looked_for() -> None:
    from huggingface_hub import constants
    from huggingface_hub.utils import WeakFileLock

    assert callable(WeakFileLock)
    for name in (
        *("ENDPOINT", "HF_HOME", "HF_HUB_CACHE", "HF_HUB_OFFLINE", "HF_HUB_DISABLE_XET"),
        *("HF_HUB_DISABLE_IMPLICIT_TOKEN", "HF_HUB_ETAG_TIMEOUT", "HF_HUB_DOWNLOAD_TIMEOUT"),
        *("DEFAULT_ETAG_TIMEOUT", "DEFAULT_DOWNLOAD_TIMEOUT"),
    ):
        assert hasattr(constants, name), name


def test_an_exit_can_be_prepared_and_an_import_be_known() -> None:
    assert callable(atexit._run_exitfuncs)
    bootstrap = sys.modules["_frozen_importlib"]
    assert bootstrap._find_and_load.__code__.co_filename == "<frozen importlib._bootstrap>"


def test_a_decoder_has_a_block_of_its_own() -> None:
    Image.init()
    assert {"PNG", "JPEG", "EPS"} <= set(Image.ID)
    assert ImageFile.ImageFile.__init__.__code__.co_names.count("decodermaxblock") == 1


@pytest.mark.skipif(PathFinder.find_spec("pip") is None, reason="pip is not installed")
def test_pip_brings_a_copy_of_packaging() -> None:
    code = "from pip._vendor.packaging.specifiers import SpecifierSet as Set\n"
    code += "assert Set('>=1').contains('2')"
    subprocess.run([sys.executable, "-c", code], check=True)  # here it would switch distutils


def test_torch_keeps_what_it_compiled_and_marks_the_parts_that_are() -> None:
    assert isinstance(torch._dynamo.config.recompile_limit, int)
    layer = nn.Linear(2, 2)
    assert uncompiled(torch.compile(layer)) is uncompiled(layer) is layer
    assert is_compiled(torch.compile(layer))
    assert not is_compiled(layer)
    layer.compile()
    assert is_compiled(nn.Sequential(layer))
    make_eager([layer])
    assert not is_compiled(layer)


def test_torch_knows_whether_a_cpu_multiplies_in_bfloat16() -> None:
    if hasattr(torch.cpu, "get_capabilities"):
        assert torch.cpu.get_capabilities()["architecture"]
    else:
        assert callable(torch.cpu._is_avx512_bf16_supported)
        assert callable(torch.cpu._is_amx_tile_supported)


def test_a_schedule_says_where_it_is() -> None:
    optimizer = SGD(nn.Linear(2, 2).parameters(), lr=1.0)
    plain = LambdaLR(optimizer, lambda step: 1.0)
    assert (plain.last_epoch, plain._step_count, plain._last_lr) == (0, 1, [1.0])
    parts = [StepLR(optimizer, 3), StepLR(optimizer, 2)]
    several = SequentialLR(optimizer, parts, milestones=[2])
    assert several._schedulers == parts
    assert "_schedulers" in several.state_dict()


def test_a_gradient_scaler_says_since_when_it_has_grown() -> None:
    assert {"scale", "_growth_tracker"} < set(torch.amp.GradScaler("cpu").state_dict())


def test_tensorboard_can_be_told_that_there_is_no_tensorflow() -> None:
    code = (
        "import sys, types; from companion.training.log import NO_TENSORFLOW as name;"
        "sys.modules[name] = types.ModuleType(name); sys.modules['tensorflow'] = types;"
        "from tensorboard.compat import tf; assert 'stub' in tf.__version__, tf.__version__"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_pipeline_keeps_the_settings_of_its_bar_where_they_are_looked_up() -> None:
    pipe = DiffusionPipeline()
    pipe.set_progress_bar_config(disable=True)
    assert pipe._progress_bar_config == {"disable": True}


def test_accelerate_can_be_set_up_again_and_marks_the_models_it_prepared() -> None:
    AcceleratorState._reset_state()
    layer = nn.Linear(2, 2)
    Accelerator().prepare(layer)
    assert vars(layer)["_is_accelerate_prepared"] is True


def test_datasets_are_kept_as_they_are_looked_for(tmp_path: Path) -> None:
    assert naming.camelcase_to_snakecase("MyFlowers") == "my_flowers"
    datasets.Dataset.from_dict({"a": [1]}).save_to_disk(tmp_path)
    saved = json.loads((tmp_path / "state.json").read_text())
    assert [list(file) for file in saved["_data_files"]] == [["filename"]]


def test_a_pipeline_says_where_it_computes() -> None:
    assert isinstance(DiffusionPipeline._execution_device, property)


def test_a_pipeline_reads_its_guidance_scale_where_it_is_written() -> None:
    written = SimpleNamespace(_guidance_scale=3.0)
    assert StableDiffusionPipeline.guidance_scale.fget(written) == 3.0


def test_a_pipeline_says_which_tensors_a_callback_may_ask_for() -> None:
    assert {"latents", "prompt_embeds"} <= set(StableDiffusionPipeline._callback_tensor_inputs)


def test_auto_pipeline_chooses_by_these_mappings() -> None:
    for task in ("INPAINT", "IMAGE2IMAGE", "TEXT2IMAGE"):
        assert getattr(auto_pipeline, f"AUTO_{task}_PIPELINES_MAPPING")["stable-diffusion"]


def test_nbval_is_built_as_the_check_of_the_book_builds_on_it() -> None:
    # book/conftest.py puts a cell and a notebook of its own in the place of nbval's; nbval promises
    # its options only, and its last release is of March 2024.
    from nbval.plugin import IPyNbCell, IPyNbFile, bcolors, nocolors

    assert issubclass(IPyNbCell, pytest.Item)
    assert issubclass(IPyNbFile, pytest.File)
    assert issubclass(IPyNbFile.CollectError, Exception)
    assert list(signature(IPyNbCell.compare_outputs).parameters) == [
        *("self", "test", "ref", "skip_compare"),
    ]
    made_from = list(signature(IPyNbCell.__init__).parameters)
    assert made_from == ["self", "name", "parent", "cell_num", "cell", "options"]
    kept = IPyNbCell.__init__.__code__.co_names
    assert {"cell_num", "cell", "options", "colors"} <= set(kept)
    # Where a failure's report takes its text from, and empties it before each comparison.
    assert "comparison_traceback" in IPyNbCell.compare_outputs.__code__.co_names
    assert all(hasattr(colours, "FAIL") for colours in (bcolors, nocolors))
    assert all(hasattr(colours, "ENDC") for colours in (bcolors, nocolors))
    assert isgeneratorfunction(IPyNbFile.collect)


def test_xdist_keeps_what_shares_a_scope_in_one_process() -> None:
    from xdist.scheduler import LoadScopeScheduling

    assert list(signature(LoadScopeScheduling).parameters) == ["config", "log"]
    assert callable(LoadScopeScheduling._split_scope)
