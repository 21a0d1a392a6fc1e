"""DDS: bytes in, bytes out. The only module that knows Eclipse Cyclone DDS.

Two traps, both silent. The vendor's IDL says *octet*; cyclonedds tells ``types.uint8`` and ``types.byte`` apart, and endpoints that
disagree never meet. Our types are ``byte``, as the robots' are; the vendor's Python package says ``uint8``, and a server that is to be
heard by both kinds offers both (:data:`BOTH`). And a domain's configuration lives as long as its Python object.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np

from deploy.unitree.codec import codec
from deploy.unitree.messages import Struct
from robots import InputError

try:
    from cyclonedds._clayer import ddspy_take, ddspy_write
    from cyclonedds.core import InstanceState, ReadCondition, SampleState, ViewState, WaitSet
    from cyclonedds.domain import Domain, DomainParticipant
    from cyclonedds.idl import annotations, make_idl_struct, types
    from cyclonedds.pub import DataWriter
    from cyclonedds.qos import Policy, Qos
    from cyclonedds.sub import DataReader
    from cyclonedds.topic import Topic
    from cyclonedds.util import duration
except ImportError as error:
    raise InputError("interface", "unitree", "a machine with cyclonedds", "pip install 'sim2real-locomotion[unitree]'.") from error

BYTE, BOTH = ("byte",), ("byte", "uint8")
ANY = SampleState.Any | ViewState.Any | InstanceState.Any
LOOPBACK = "lo"

_domains: dict[int, tuple[str, Domain]] = {}  # of this process, kept alive


class Bus:
    """A participant of ``domain`` on the network interface of that name. Raises InputError if there is no such interface."""

    def __init__(self, network: str, domain: int) -> None:
        self._participant = _participant(network, domain)

    def publisher(self, topic: str, struct: Struct, octets: Sequence[str] = BYTE) -> Publisher:
        return Publisher(self._participant, topic, struct, octets)

    def subscriber(self, topic: str, struct: Struct, octets: Sequence[str] = BYTE, depth: int = 1) -> Subscriber:
        """Of each kind of octet it keeps the newest ``depth`` messages."""
        return Subscriber(self._participant, topic, struct, octets, depth)


class Publisher:
    """Writes messages, as bytes with their CDR header."""

    def __init__(self, participant: Any, topic: str, struct: Struct, octets: Sequence[str]) -> None:
        self._writers = [DataWriter(participant, Topic(participant, topic, idl_type(struct, octet))) for octet in octets]

    def write(self, data: bytes) -> None:
        """Raises OSError if the bus fails."""
        for writer in self._writers:
            status = ddspy_write(writer._ref, data)
            if status < 0:
                raise OSError(f"DDS did not take a message: code {status}")

    @property
    def heard(self) -> bool:
        """Whether anybody subscribes."""
        return any(writer.get_matched_subscriptions() for writer in self._writers)


class Subscriber:
    """Receives messages, as bytes with their CDR header."""

    def __init__(self, participant: Any, topic: str, struct: Struct, octets: Sequence[str], depth: int) -> None:
        self._depth, newest = depth, Qos(Policy.History.KeepLast(depth))
        self._readers = [DataReader(participant, Topic(participant, topic, idl_type(struct, octet)), newest) for octet in octets]
        self._news = WaitSet(participant)
        self._conditions = [ReadCondition(reader, SampleState.NotRead | ViewState.Any | InstanceState.Alive) for reader in self._readers]
        for condition in self._conditions:
            self._news.attach(condition)

    def wait(self, seconds: float) -> bool:
        """Wait for a message at most so long; whether one is there."""
        return self._news.wait(duration(seconds=seconds)) > 0

    @property
    def writers(self) -> int:
        """How many publish."""
        return sum(len(reader.get_matched_publications()) for reader in self._readers)

    def take(self) -> list[bytes]:
        """What has come since the last call. Raises OSError if the bus fails."""
        found = []
        for reader in self._readers:
            samples = ddspy_take(reader._ref, ANY, self._depth)
            if isinstance(samples, int):
                raise OSError(f"DDS did not give a message: code {samples}")
            found += [data for data, info in samples if info.valid_data]
        return found


def _participant(network: str, domain: int) -> Any:
    known = [name for _, name in socket.if_nameindex()]
    if network not in known:
        raise InputError("network", network, f"a network interface of this computer: {', '.join(known)}", "'ip address' lists them.")
    if domain not in _domains:
        _domains[domain] = network, Domain(domain, _configuration(network))
    used, _ = _domains[domain]
    if used != network:
        raise InputError("network", network, f"{used}, which this process has joined domain {domain} through", "Use another domain.")
    return DomainParticipant(domain)


def _configuration(network: str) -> str:
    """Loopback has no multicast: participants there are looked for one by one, as the vendor's C++ programs also need."""
    peers = "<ParticipantIndex>auto</ParticipantIndex><MaxAutoParticipantIndex>40</MaxAutoParticipantIndex>"
    peers += "<Peers><Peer Address='127.0.0.1'/></Peers>"
    return (
        f"<CycloneDDS><Domain Id='any'><General><Interfaces><NetworkInterface name='{network}'/></Interfaces></General>"
        f"<Discovery>{peers if network == LOOPBACK else ''}</Discovery></Domain></CycloneDDS>"
    )


@cache
def idl_type(struct: Struct, octet: str = "byte") -> Any:
    """The message as a cyclonedds type; IDL's octet is ``types.byte`` or, for the vendor's Python programs, ``types.uint8``."""
    numbers = {
        "u1": getattr(types, octet), "u2": types.uint16, "u4": types.uint32, "i2": types.int16, "i4": types.int32, "i8": types.int64,
        "f4": types.float32, "str": str, "bool": bool, "bytes": types.sequence[getattr(types, octet)],
    }  # fmt: skip
    fields = {}
    for name, kind, count in struct.fields:
        one = idl_type(kind, octet) if isinstance(kind, Struct) else numbers[kind]
        fields[name] = types.array[one, count] if count else one
    made = make_idl_struct(struct.typename.rpartition(".")[2], struct.typename, fields)
    return annotations.autoid("sequential")(annotations.final(made))


def serialize(struct: Struct, values: Any) -> bytes:
    """The bytes of a message with cyclonedds' own serializer: of any size, and slow. ``values`` by name: a mapping or a numpy record."""
    data = _object(struct, values).serialize()
    return data.ljust(len(data) + -len(data) % 4, b"\0")


def deserialize(struct: Struct, data: bytes) -> Any:
    """The message as an object with an attribute a field."""
    return idl_type(struct).deserialize(data)


def _object(struct: Struct, values: Any) -> Any:
    fields = {}
    for name, kind, count in struct.fields:
        value = values[name]
        if isinstance(kind, Struct):
            fields[name] = [_object(kind, value[i]) for i in range(count)] if count else _object(kind, value)
        else:
            fields[name] = value.tolist() if hasattr(value, "tolist") else value
    return idl_type(struct)(**fields)


@cache
def checked_codec(struct: Struct) -> Any:
    """The codec of ``struct``, checked: our bytes of a message of random bits are those of cyclonedds. Raises InputError otherwise."""
    ours, rng = codec(struct), np.random.default_rng(0)
    message = ours.blank()
    fill(message, rng)
    if ours.encode(message) != serialize(struct, message):
        raise InputError("cyclonedds", struct.typename, "the layout that messages are encoded in", "Use cyclonedds 11.0.1.")
    return ours


def fill(record: np.ndarray, rng: np.random.Generator) -> None:
    """Random numbers in every field."""
    for name in record.dtype.names or ():
        part = record[name]
        if part.dtype.names:
            fill(part, rng)
        elif part.dtype.kind == "f":
            part[...] = rng.standard_normal(part.shape)
        else:
            limits = np.iinfo(part.dtype)
            part[...] = rng.integers(limits.min, limits.max, part.shape, endpoint=True)
