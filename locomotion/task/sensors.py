"""What the robot's sensors say of the signals: tilt, bias, delay, noise and repeated readings. Task and evaluation share it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from sim.signals import columns

if TYPE_CHECKING:
    from locomotion.task.randomization import RandomizationSettings, SensorSpread

MEASURED = ("base_ang_vel", "projected_gravity", "joint_pos", "joint_vel")  # by sensors, in the order of the policy's inputs


def sensor_sizes(num_joints: int) -> list[int]:
    """Numbers of each of MEASURED; S is their sum."""
    return [3, 3, num_joints, num_joints]


def sensor_scale(spread: SensorSpread, num_joints: int, device: torch.device) -> Tensor:
    """Half-width of each measured number, in the order of MEASURED, [S]."""
    sizes = dict(zip(MEASURED, sensor_sizes(num_joints), strict=True))
    return torch.cat([torch.full((sizes[name],), float(getattr(spread, name)), device=device) for name in MEASURED])


class Sensors:
    """The sensors of N robots. What an episode holds is a row of :attr:`width` numbers that the caller keeps.

    A reading is the signal turned by the IMU's tilt, as it was some time ago (linear between control steps), with the episode's bias
    and the step's noise; a lost packet shows the last reading again. What is switched off costs nothing.
    """

    def __init__(
        self, settings: RandomizationSettings, num_envs: int, num_joints: int, control_dt: float, device: torch.device, ahead: int = 1
    ) -> None:
        self._n, self._device, self.ahead = num_envs, device, ahead
        sizes = sensor_sizes(num_joints)
        self.size = sum(sizes)  # S
        self._joint_pos = slice(6, 6 + num_joints)
        self._bias_scale = 2.0 * sensor_scale(settings.bias, num_joints, device)
        self._noise_scale = 2.0 * sensor_scale(settings.noise, num_joints, device)
        self._tilt, self._dropped = settings.imu_tilt, settings.dropped.sensors
        ranges = [getattr(settings.delay, name) for name in MEASURED]
        # in control steps, as the sensor has it
        self._lag_low, self._lag_high = (torch.tensor([x[i] / control_dt for x in ranges], device=device) for i in (0, 1))
        self._sizes = torch.tensor(sizes, device=device)
        longest = max(high for _, high in ranges) / control_dt
        self.perfect = not (
            any(vars(settings.noise).values()) or any(vars(settings.bias).values()) or self._tilt or self._dropped or longest
        )
        draws = [self.size, 3 if self._tilt else 0, len(sizes) if longest else 0]
        self._draws, self.draws = draws, sum(draws)
        self._widths = [self.size, 9 if self._tilt else 0, self.size if longest else 0]
        self.width = sum(self._widths)
        self.slots = math.ceil(longest - 1e-6) + 1  # the present and what is remembered
        self._history = columns(self.slots, num_envs, self.size, device=device)
        self._slots, self._at = self._history.unbind(), 0  # slot of the present
        self._noise = columns(ahead, num_envs, self.size, device=device)
        self._lost = torch.zeros(ahead if self._dropped else 0, num_envs, 1, dtype=torch.bool, device=device)
        self._fresh: Tensor | None = None  # [N] whose episode has begun since the last reading

    def hold(self, u: Tensor, severity: Tensor | float = 1.0, joint_zero_offset: Tensor | None = None) -> Tensor:
        """What an episode holds, [n, width], of uniform numbers [n, draws]; ``severity`` [n, 1] scales it.

        ``joint_zero_offset`` [n, J]: by how much encoders read too much; the motors' own share of it is the engine's.
        """
        bias, tilt, delay = u.split(self._draws, dim=-1)
        bias = (bias - 0.5) * self._bias_scale * severity
        if joint_zero_offset is not None:
            bias[:, self._joint_pos] += joint_zero_offset
        parts = [bias]
        if self._tilt:
            turn = rotation((2.0 * tilt - 1.0) * self._tilt * severity)
            parts.append(turn.transpose(1, 2).flatten(1))  # rows are turned by v R^T
        if self.slots > 1:
            lag = torch.lerp(self._lag_low.expand_as(delay), self._lag_high.expand_as(delay), delay) * severity
            parts.append(lag.repeat_interleave(self._sizes, dim=-1, output_size=self.size))
        return torch.cat(parts, dim=-1)

    def draw(self, generator: torch.Generator | None) -> None:
        """Noise and losses of the next ``ahead`` steps."""
        torch.rand(self._noise.shape, device=self._device, generator=generator, out=self._noise)
        self._noise.sub_(0.5).mul_(self._noise_scale)
        if self._dropped:
            self._lost.copy_(torch.rand(self._lost.shape, device=self._device, generator=generator) < self._dropped)

    def begin(self, mask: Tensor) -> None:
        """Episodes have begun where ``mask`` [N] is true: their sensors have no past."""
        if self.slots > 1 or self._dropped:
            self._fresh = mask

    def read(self, clean: Tensor, held: Tensor, step: int, out: Tensor, severity: Tensor | None = None) -> None:
        """Write the readings of ``clean`` [N, S] into ``out`` [N, S], which holds the last ones.

        ``step`` counts from the last :meth:`draw`; ``severity`` [N, 1] scales the noise.
        """
        bias, matrix, lag = held.split(self._widths, dim=-1)
        self._at = (self._at + 1) % self.slots
        present = self._slots[self._at].copy_(clean)
        if self._tilt:  # a product and its sum rather than small matrices: it goes along columns
            turned = clean[:, :6].view(self._n, 2, 3, 1) * matrix.view(self._n, 1, 3, 3)
            present[:, :6] = turned.sum(dim=2).flatten(1)
        seen = (self._delayed(present, lag) if self.slots > 1 else present).add_(bias)
        noise, noisy = self._noise[step % self.ahead], seen if self._dropped else out
        if severity is None:
            torch.add(seen, noise, out=noisy)
        else:
            torch.addcmul(seen, noise, severity, out=noisy)
        if self._dropped:
            lost = self._lost[step % self.ahead]
            if self._fresh is not None:
                lost = lost & ~self._fresh[:, None]
            torch.where(lost, out, seen, out=out)
        self._fresh = None

    def _delayed(self, present: Tensor, lag: Tensor) -> Tensor:
        """``present`` [N, S], a slot of the history, as it was ``lag`` [N, S] control steps ago."""
        if self._fresh is not None:
            torch.where(self._fresh[:, None], present, self._history, out=self._history)
        if self.slots == 2:  # at most a control step: without a gather it takes a quarter of the time
            return torch.lerp(present, self._slots[1 - self._at], lag)
        whole = lag.floor()
        older = torch.stack((whole, whole + 1.0)).clamp_(max=self.slots - 1).to(torch.int64)
        newer, old = self._history.gather(0, torch.remainder(self._at - older, self.slots))
        return torch.lerp(newer, old, lag - whole)

    def state_dict(self) -> dict[str, Any]:
        """What readings were, but for :meth:`drawn`; a reading must have followed the last :meth:`begin`."""
        return {"at": self._at, "history": self._history.clone()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._at, self._fresh = state["at"], None
        self._history.copy_(state["history"])

    def drawn(self) -> dict[str, Tensor]:
        """What :meth:`draw` has drawn."""
        return {"noise": self._noise, "lost": self._lost}


def rotation(vector: Tensor) -> Tensor:
    """Rotation matrices [n, 3, 3] of rotation vectors [n, 3] (rad), by Rodrigues' formula."""
    x, y, z = vector.unbind(-1)
    zero = torch.zeros_like(x)
    cross = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], dim=-1).view(-1, 3, 3)
    angle = vector.norm(dim=-1)[:, None, None].clamp(min=1e-9)
    eye = torch.eye(3, device=vector.device)
    return eye + torch.sin(angle) / angle * cross + (1.0 - torch.cos(angle)) / angle**2 * (cross @ cross)
