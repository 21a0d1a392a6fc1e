"""The network of a foreign policy as an ONNX model, whether its file is ONNX, TorchScript or a checkpoint of rl_games or rsl_rl."""

from __future__ import annotations

import hashlib
import tempfile
import warnings
from pathlib import Path

import numpy as np
import onnx
import onnx.inliner
import onnx.version_converter
import onnxruntime
import torch

from locomotion.adapters import foreign_checkpoint
from locomotion.adapters.foreign_graph import OPSET
from locomotion.adapters.foreign_policy import Description
from robots.errors import InputError

TOLERANCE = 1e-4  # between a module and its ONNX
OURS = b"locomotion checkpoint "


def load_network(found: Description) -> tuple[onnx.ModelProto, str]:
    """The network, and the sha256 of its file.

    Raises:
        InputError: a file that is missing, is none of these, or keeps a state of its own.
    """
    path = found.file
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError("policy", str(path), "a file beside the description", f"{error.strerror}.") from error
    activation = found.settings.activation
    if data.startswith(OURS):
        model = _convert(found, _own_actor(found))
    elif foreign_checkpoint.is_checkpoint(data):
        model = foreign_checkpoint.network_of(path.name, data, activation)
    elif activation is not None and path.suffix in (".pth", ".ckpt"):
        raise InputError("policy", str(path), "a checkpoint, as torch.save writes it", "It is cut, or no checkpoint: copy it anew.")
    elif activation is not None:
        raise InputError("activation", activation, f"none: {path.name} is no checkpoint, and says it itself", "Remove activation.")
    else:
        model = _read_onnx(path, data) if path.suffix == ".onnx" else _convert_torchscript(found)
    if model.functions:
        model = onnx.inliner.inline_local_functions(model)
    opset = next((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), OPSET)
    if opset < OPSET:
        model = onnx.version_converter.convert_version(model, OPSET)
    return model, hashlib.sha256(data).hexdigest()


def _read_onnx(path: Path, data: bytes) -> onnx.ModelProto:
    try:
        model = onnx.load_model_from_string(data)
        if any(tensor.data_location == onnx.TensorProto.EXTERNAL for tensor in model.graph.initializer):
            raise InputError("policy", str(path), "weights inside the file", "Export it with external_data=False.")
        onnx.checker.check_model(model)
    except InputError:
        raise
    except Exception as error:  # protobuf and the checker raise types of their own
        raise InputError("policy", str(path), "an ONNX file", f"{str(error).splitlines()[0]}.") from error
    return model


def _convert_torchscript(found: Description) -> onnx.ModelProto:
    try:
        module = torch.jit.load(str(found.file), map_location="cpu").eval()
    except (RuntimeError, ValueError) as error:
        allowed = "an .onnx file, one that torch.jit.load reads, or a checkpoint of rl_games or rsl_rl"
        raise InputError("policy", str(found.file), allowed, "Export it to ONNX.") from error
    return _convert(found, module)


def _own_actor(found: Description) -> torch.nn.Module:
    """The actor of a run of ours in an environment of somebody else's, such as env=isaacgym:Anymal."""
    from locomotion import build, plugins
    from locomotion.environment import ActionSpace, Spaces
    from locomotion.runs import checkpoint
    from locomotion.schema import check
    from locomotion.settings import TrainSettings

    state = checkpoint.load(found.file)
    plugins.load(state["config"]["plugins"])
    settings = check(TrainSettings, state["config"])
    if settings.env is None or settings.algorithm.get("memory"):
        remedy = (
            "A robot's is exported as it is: locomotion export checkpoint=..." if settings.env is None else "Train with algorithm.memory=0."
        )
        raise InputError("policy", found.file.name, "a checkpoint of a run with env=..., without a memory", remedy)
    width, bound = found.settings.history.length * found.frame_width, torch.ones(len(found.acted))
    try:
        spaces = Spaces({"actor": width, "critic": width}, ActionSpace(-bound, bound), None)
        return build.actor(settings, spaces, state["learner"]["actor"])
    except RuntimeError as error:  # torch's, of weights of another shape
        said = str(error).strip().splitlines()[-1].strip()
        raise InputError("policy", found.file.name, f"an actor of {width} numbers for {len(bound)} joints", said) from error


def _convert(found: Description, module: torch.nn.Module) -> onnx.ModelProto:
    """A module as ONNX, with the states that the description has. Raises InputError where it is not what is described."""
    settings = found.settings
    generator = torch.Generator().manual_seed(0)
    observation = torch.randn(2, settings.history.length * found.frame_width, generator=generator)
    states = [torch.zeros(2, *size) if len(size := state.size) == 1 else torch.zeros(size[0], 2, size[1]) for state in settings.state]
    names = [settings.input or "observation", *(state.input for state in settings.state)]
    outputs = [settings.output or "action", *(state.output for state in settings.state)]
    axes = {name: {1 if len(state.size) == 2 else 0: "batch"} for state in settings.state for name in (state.input, state.output)}
    try:
        with torch.inference_mode():
            given = [_listed(module(observation, *states)) for _ in range(2)]
        with warnings.catch_warnings(), tempfile.TemporaryDirectory() as folder:
            warnings.simplefilter("ignore")  # torch.export takes no TorchScript: only this exporter does
            file = Path(folder) / "network.onnx"
            torch.onnx.export(
                module, (observation, *states), file, input_names=names, output_names=outputs, opset_version=17, dynamo=False,
                dynamic_axes={names[0]: {0: "batch"}, outputs[0]: {0: "batch"}, **axes},
            )  # fmt: skip
            data = file.read_bytes()
    except Exception as error:  # whatever the module itself raises, and the exporter's own types
        allowed = f"a module of {len(names)} inputs: {observation.shape[1]} numbers, and the states described"
        raise InputError("policy", found.file.name, allowed, f"It says: {str(error).strip().splitlines()[-1][:300]}") from error
    if any(not torch.equal(first, second) for first, second in zip(*given, strict=True)):
        remedy = "Export it with its recurrent state as an input and an output, and describe it under 'state'."
        raise InputError("policy", found.file.name, "the same action for the same observation: it keeps a state of its own", remedy)
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    known = {value.name for value in session.get_inputs()}
    feed = dict(zip(names, [observation.numpy(), *(state.numpy() for state in states)], strict=True))
    computed = session.run(outputs, {name: value for name, value in feed.items() if name in known})
    worst = max(float(np.abs(np.asarray(a) - b.numpy()).max()) for a, b in zip(computed, given[0], strict=True))
    if not worst <= TOLERANCE:
        raise InputError("policy", found.file.name, f"a module whose ONNX agrees within {TOLERANCE}; it differs by {worst}", "Export ONNX.")
    return onnx.load_model_from_string(data)


def _listed(value: torch.Tensor | tuple[torch.Tensor, ...]) -> list[torch.Tensor]:
    return [value] if isinstance(value, torch.Tensor) else list(value)
