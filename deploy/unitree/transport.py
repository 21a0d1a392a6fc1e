"""DDS: bytes in, bytes out. The only module that knows Eclipse Cyclone DDS.

Traps, all silent. The vendor's IDL says *octet*; cyclonedds tells ``types.byte`` and ``types.uint8`` apart, and endpoints that disagree
never meet. The robots and all C++ programs are ``byte``, and so are we. The vendor's Python package on cyclonedds 11 is ``uint8``; worse,
a C++ program with the vendor's SDK (Cyclone DDS 0.10) that writes a topic crashes when a ``uint8`` subscriber of it appears, so never
join a robot's network with one. And a domain's configuration lives as long as its Python object.
"""

from __future__ import annotations

import socket
from functools import cache
from typing import Any

import numpy as np

from deploy.unitree.codec import codec
from deploy.unitree.messages import Struct
from robots import InputError

try:
    from cyclonedds._clayer import ddspy_take, ddspy_write
    from cyclonedds.builtin import BuiltinDataReader, BuiltinTopicDcpsPublication
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

BYTE, UINT8 = "byte", "uint8"
ANY = SampleState.Any | ViewState.Any | InstanceState.Any
UNREAD = SampleState.NotRead | ViewState.Any | InstanceState.Alive
LOOPBACK = "lo"
MOST_WRITERS = 1000  # of all topics, that are looked through

_domains: dict[int, tuple[str, Domain]] = {}  # of this process, kept alive


class Bus:
    """A participant of ``domain`` on the network interface of that name. Raises InputError if there is no such interface."""

    def __init__(self, network: str, domain: int) -> None:
        self._participant = _participant(network, domain)

    def publisher(self, topic: str, struct: Struct, octet: str = BYTE) -> Publisher:
        return Publisher(self._participant, topic, struct, octet)

    def subscriber(self, topic: str, struct: Struct, octet: str = BYTE, depth: int = 1, own: bool = True) -> Subscriber:
        """Keeps the newest ``depth`` messages; without ``own``, not those that were written by this bus."""
        return Subscriber(self._participant, topic, struct, octet, depth, own)

    def published(self, topic: str) -> tuple[str, ...]:
        """The types, of the vendor's spelling, that others publish ``topic`` as, whether we can hear them or not."""
        found = BuiltinDataReader(self._participant, BuiltinTopicDcpsPublication).read(MOST_WRITERS)
        own = self._participant.guid
        return tuple(sorted(item.type_name for item in found if item.topic_name == topic and item.participant_key != own))


class Publisher:
    """Writes messages, as bytes with their CDR header."""

    def __init__(self, participant: Any, topic: str, struct: Struct, octet: str) -> None:
        self._writer = DataWriter(participant, Topic(participant, topic, idl_type(struct, octet)))

    def write(self, data: bytes) -> None:
        """Raises OSError if the bus fails."""
        status = ddspy_write(self._writer._ref, data)
        if status < 0:
            raise OSError(f"DDS did not take a message: code {status}")

    @property
    def readers(self) -> int:
        """How many programs subscribe."""
        return len(self._writer.get_matched_subscriptions())


class Subscriber:
    """Receives messages, as bytes with their CDR header."""

    def __init__(self, participant: Any, topic: str, struct: Struct, octet: str, depth: int, own: bool) -> None:
        self._depth = depth
        policies = [Policy.History.KeepLast(depth), *([] if own else [Policy.IgnoreLocal.Participant])]
        self._reader = DataReader(participant, Topic(participant, topic, idl_type(struct, octet)), Qos(*policies))
        self._news, self._unread = WaitSet(participant), ReadCondition(self._reader, UNREAD)
        self._news.attach(self._unread)

    def wait(self, seconds: float) -> bool:
        """Wait for a message at most so long; whether one is there."""
        return self._news.wait(duration(seconds=seconds)) > 0

    @property
    def writers(self) -> int:
        """How many programs publish."""
        return len(self._reader.get_matched_publications())

    def take(self) -> list[bytes]:
        """What has come since the last call, oldest first. Raises OSError if the bus fails."""
        samples = ddspy_take(self._reader._ref, ANY, self._depth)
        if isinstance(samples, int):
            raise OSError(f"DDS did not give a message: code {samples}")
        return [data for data, info in samples if info.valid_data]


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
def idl_type(struct: Struct, octet: str = BYTE) -> Any:
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
