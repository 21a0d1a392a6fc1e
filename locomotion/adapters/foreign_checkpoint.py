"""The network of an rl_games or rsl_rl checkpoint as an ONNX model: what its weights say, and what they do not is refused.

A checkpoint holds weights by name, not a program. What these two libraries build of them for a walk is a multilayer perceptron of the
normalised observation; which activation stands between its layers is not in the file, and is told by the description.
"""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor

from robots.errors import InputError

OPSET = 17
ACTIVATIONS = {
    "elu": ("Elu", {"alpha": 1.0}), "relu": ("Relu", {}), "selu": ("Selu", {}), "tanh": ("Tanh", {}), "sigmoid": ("Sigmoid", {}),
    "lrelu": ("LeakyRelu", {"alpha": 0.01}), "softplus": ("Softplus", {}),
}  # fmt: skip
INDEX = re.compile(r"(\d+)\.(weight|bias)")


@dataclass(frozen=True)
class Format:
    """How a library names the parts of an actor among its weights."""

    library: str
    weights: str  # the entry of the checkpoint
    trunk: str  # before the number of a layer; an activation follows each, but the last where there is no head
    head: str  # before weight and bias of the last layer, where that stands apart
    normaliser: tuple[str, ...]  # before its buffers
    mean: str
    variance: str
    others: tuple[str, ...]  # weights that have no part in the mean action
    inside: float = 0.0  # y = (x - mean) / (sqrt(variance + inside) + outside)
    outside: float = 0.0
    clip: float | None = None  # of y


FORMATS = (
    Format(
        "rl_games", "model", "a2c_network.actor_mlp.", "a2c_network.mu.", ("running_mean_std.",), "running_mean", "running_var",
        ("a2c_network.sigma", "a2c_network.value.", "a2c_network.critic_mlp.", "value_mean_std."), inside=1e-5, clip=5.0,
    ),
    Format(
        "rsl_rl", "actor_state_dict", "mlp.", "", ("obs_normalizer.",), "_mean", "_var",
        ("distribution.std_param", "distribution.log_std_param"), outside=1e-2,
    ),
    Format(
        "rsl_rl", "model_state_dict", "actor.", "", ("actor_obs_normalizer.", "obs_norm_state_dict."), "_mean", "_var",
        ("std", "log_std", "critic.", "critic_obs_normalizer."), outside=1e-2,
    ),
)  # fmt: skip


def is_checkpoint(data: bytes) -> bool:
    """Whether a file is what ``torch.save`` writes. TorchScript, a zip archive as well, has its constants apart."""
    try:
        names = zipfile.ZipFile(io.BytesIO(data)).namelist()
    except zipfile.BadZipFile:
        return False
    return any(name.endswith("/data.pkl") for name in names) and not any(name.endswith("/constants.pkl") for name in names)


def network_of(name: str, data: bytes, activation: str | None) -> onnx.ModelProto:
    """The mean action [batch, A] of an observation [batch, O] under the weights in ``data``, a file called ``name``.

    Raises:
        InputError: a checkpoint of neither library, of another architecture, with weights missing, or that would run code.
    """
    state = _load(name, data)
    found = next((form for form in FORMATS if isinstance(state.get(form.weights), Mapping)), None)
    if found is None:
        entries = "'model' of rl_games, 'actor_state_dict' or 'model_state_dict' of rsl_rl"
        remedy = f"It has {', '.join(map(str, list(state)[:8])) or 'nothing'}. Only PPO's actors are known."
        raise InputError("policy", name, f"a checkpoint with {entries}", remedy)
    if activation is None:
        remedy = "The file does not say which: isaacgymenvs and legged_gym train with 'activation: elu'."
        raise InputError("activation", None, f"what stands between the layers of {name}: {', '.join(ACTIVATIONS)}", remedy)
    weights = {str(key).removeprefix("_orig_mod."): value for key, value in state[found.weights].items()}
    if isinstance(state.get("obs_norm_state_dict"), Mapping):
        weights |= {f"obs_norm_state_dict.{key}": value for key, value in state["obs_norm_state_dict"].items()}
    weights = {key: value.detach() for key, value in weights.items() if isinstance(value, Tensor)}
    _refuse_others(name, found, weights)
    for key, value in weights.items():
        if value.layout != torch.strided or value.is_meta or value.is_quantized or value.is_complex() or not value.isfinite().all():
            raise InputError("policy", name, f"finite real numbers in {key}", "It is damaged, or of a training that went wrong.")
    layers = _layers(name, found, weights)
    return _graph(_normaliser(name, found, weights, layers[0][0].shape[1]), layers, activation, found.clip)


def _load(name: str, data: bytes) -> Mapping[str, Any]:
    """The checkpoint's entries. Nothing in it is executed: beside tensors only the numbers of numpy that rl_games keeps are read."""
    scalar: Any = np.float32(0).__reduce__()[0]  # makes a number of bytes; numpy 1 called it by another name
    numbers: list[Any] = [np.dtype, type(np.dtype("float32")), type(np.dtype("float64")), scalar, (scalar, "numpy.core.multiarray.scalar")]
    try:
        with torch.serialization.safe_globals(numbers):
            state = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception as error:  # pickle's, zip's and torch's own
        said = next(iter(re.findall(r"[Uu]nsupported (?:global: )?GLOBAL (\S+)", str(error))), "")
        remedy = (
            f"It holds a {said}, which only running its code would read. Where you trust it, write it anew with what is needed alone."
            if said
            else f"{str(error).splitlines()[0][:200]}."
        )
        raise InputError("policy", name, "a checkpoint of tensors and numbers", remedy) from error
    if not isinstance(state, Mapping):
        raise InputError("policy", name, "a checkpoint, which is a dict", f"It is a {type(state).__name__}.")
    return state


def _refuse_others(name: str, form: Format, weights: Mapping[str, Tensor]) -> None:
    """A weight that has no place in a plain perceptron says that this is none."""
    known = (*form.normaliser, *form.others, *((form.head,) if form.head else ()))
    for key in weights:
        layer = INDEX.fullmatch(key.removeprefix(form.trunk)) if key.startswith(form.trunk) else None
        if layer is None and not key.startswith(known):
            allowed = f"an {form.library} actor of linear layers and activations"
            raise InputError("policy", name, allowed, f"It has {key}: another architecture. Export it to ONNX with {form.library}.")


def _layers(name: str, form: Format, weights: Mapping[str, Tensor]) -> list[tuple[Tensor, Tensor]]:
    """Weight [out, in] and bias [out] of every layer, from the observation to the action."""
    places = sorted({int(key.removeprefix(form.trunk).split(".")[0]) for key in weights if key.startswith(form.trunk)})
    if places != list(range(0, 2 * len(places), 2)):
        allowed = f"layers {form.trunk}0, 2, 4 ..., an activation after each"
        raise InputError("policy", name, allowed, f"It has {places}: a layer is missing, or this is another architecture.")
    layers: list[tuple[Tensor, Tensor]] = []
    for prefix in [*(f"{form.trunk}{place}." for place in places or [0]), *([form.head] if form.head else [])]:
        for part in ("weight", "bias"):
            if prefix + part not in weights:
                raise InputError("policy", name, f"an {form.library} checkpoint with {prefix}{part}", f"It has {', '.join(weights)}."[:300])
        weight, bias = weights[prefix + "weight"], weights[prefix + "bias"]
        if weight.ndim != 2 or bias.shape != weight.shape[:1] or (layers and layers[-1][0].shape[0] != weight.shape[1]):
            before = f" after {layers[-1][0].shape[0]} units" if layers else ""
            got = f"It is {list(weight.shape)}, its bias {list(bias.shape)}{before}."
            raise InputError("policy", name, f"a linear layer {prefix}weight that fits", f"{got} This is another architecture.")
        layers.append((weight.float(), bias.float()))
    return layers


def _normaliser(name: str, form: Format, weights: Mapping[str, Tensor], width: int) -> tuple[Tensor, Tensor] | None:
    """Mean and divisor [O], or None where the network sees its observation as it is."""
    prefix = next((prefix for prefix in form.normaliser if any(key.startswith(prefix) for key in weights)), None)
    if prefix is None:
        return None
    for part in (form.mean, form.variance):
        if prefix + part not in weights:
            raise InputError("policy", name, f"a normaliser with {prefix}{part}", "It is cut, or of another architecture.")
    mean, variance = (weights[prefix + part].float().flatten() for part in (form.mean, form.variance))
    if len(mean) != width or len(variance) != width or bool((variance < 0.0).any()):
        allowed = f"a normaliser of the {width} numbers that the first layer takes, and of no negative variance"
        raise InputError("policy", name, allowed, f"It has {len(mean)} means and {len(variance)} variances: it is damaged.")
    return mean, torch.sqrt(variance + form.inside) + form.outside


def _graph(
    normaliser: tuple[Tensor, Tensor] | None, layers: list[tuple[Tensor, Tensor]], activation: str, clip: float | None
) -> onnx.ModelProto:
    nodes: list[onnx.NodeProto] = []
    constants: list[onnx.TensorProto] = []

    def add(operator: str, *inputs: str | np.ndarray, **attributes: Any) -> str:
        names = []
        for value in inputs:
            if not isinstance(value, str):
                constants.append(numpy_helper.from_array(value, f"weight_{len(constants)}"))
                value = constants[-1].name
            names.append(value)
        nodes.append(helper.make_node(operator, names, [f"value_{len(nodes)}"], **attributes))
        return nodes[-1].output[0]

    value = "observation"
    if normaliser is not None:
        value = add("Div", add("Sub", value, normaliser[0].numpy()), normaliser[1].numpy())
        value = add("Clip", value, np.array(-clip, np.float32), np.array(clip, np.float32)) if clip is not None else value
    for i, (weight, bias) in enumerate(layers):
        if i:
            operator, attributes = ACTIVATIONS[activation]
            value = add(operator, value, **attributes)
        value = add("Gemm", value, weight.numpy(), bias.numpy(), transB=1)
    nodes[-1].output[0] = "action"
    widths = (len(layers[0][0][0]), len(layers[-1][1]))
    ends = [
        helper.make_tensor_value_info(end, TensorProto.FLOAT, ["batch", width])
        for end, width in zip(("observation", "action"), widths, strict=True)
    ]
    graph = helper.make_graph(nodes, "network", ends[:1], ends[1:], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)
