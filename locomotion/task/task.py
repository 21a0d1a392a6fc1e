"""A task: named terms over a simulator, as an :class:`~locomotion.environment.Environment`. One for every robot, engine and device.

Read :meth:`Task.step` first. Nothing in it looks at a tensor's values from the host, except to skip work on the CPU.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from locomotion import distributed
from locomotion.environment import Ended, Observations, Transition
from locomotion.models.policy import Policy
from locomotion.schema import check
from locomotion.task import (
    curriculum,
    events,
    metrics,
    observations,
    privileged,
    resets,
    rewards,
    rewards_feet,
    rewards_joints,
    terminations,
    terms,
)
from locomotion.task.actions import ActionDecoder
from locomotion.task.episodes import Episodes, draw_steps, put
from locomotion.task.frame import Frame, RobotTensors
from locomotion.task.gait import Gait
from locomotion.task.link import Link
from locomotion.task.observations import Context
from locomotion.task.outcome import Outcome
from locomotion.task.past import Past
from locomotion.task.randomization import PhysicsSampler, RandomizationSettings
from locomotion.task.recorder import Recorder
from locomotion.task.sensors import MEASURED, Sensors
from locomotion.task.settings import ResetShare, TaskSettings, make_commands, make_encoder, make_privileged, substeps_of
from locomotion.task.spaces import make_spaces
from robots.errors import InputError
from sim import Signals, Simulator
from sim.parameters import check_supported
from sim.signals import columns

# their terms are known once imported
BUILT_IN = (curriculum, events, metrics, observations, privileged, resets, rewards, rewards_feet, rewards_joints, terminations)
AHEAD = 16  # steps for which noise and episodes are drawn in one call
BEAT = 4  # steps between looks at whose new command or event is due
CAPACITY = 32  # steps that are kept before their rewards are worked out ...
CACHED = 8192  # ... and on a CPU of so many robots together, few enough to stay near it


class Task:
    """N environments. All randomness comes from one generator, carried by :meth:`state_dict`."""

    def __init__(self, settings: TaskSettings, simulator: Simulator, randomization: RandomizationSettings, seed: int) -> None:
        self.settings, self.simulator, self.randomization = settings, simulator, randomization
        self.robot, self.num_envs, self.device = simulator.robot, simulator.num_envs, simulator.device
        self.step_seconds, self.substeps = settings.control_dt, substeps_of(settings.control_dt, simulator.physics_dt)
        self.max_steps = max(1, round(settings.episode_seconds / settings.control_dt))
        self.generator = None if self.device.type == "meta" else torch.Generator(device=self.device).manual_seed(seed)
        check_supported(simulator.engine, simulator.supports, randomization.needs)
        self.robot_tensors = RobotTensors(self.robot, simulator)
        self.commands = make_commands(settings, self.device)
        self.gait = Gait(settings.gait, self.robot, settings.control_dt, self.device, self.commands) if settings.gait else None
        context = Context(self.robot, self.commands, self.gait, settings.control_dt)
        self.encoder = make_encoder(settings, context).to(self.device)
        self.decoder = ActionDecoder(self.robot, settings.control_dt, self.device)
        privileged = make_privileged(settings, context)
        self.spaces = make_spaces(self.encoder, privileged, self.decoder, self.robot, settings.constraints)
        self.privileged = [*privileged.values()]
        self._bind_terms(settings)
        self._allocate(settings, randomization)
        curricula = settings.curricula.items()
        self.curricula = [terms.curriculum.bind("task.curricula", name, value)(self) for name, value in curricula]
        self.reset()

    # what a learner knows

    @property
    def observations(self) -> Observations:
        return self._observations

    def seed(self, seed: int) -> None:
        if self.generator:
            self.generator.manual_seed(seed)

    def reset(self) -> Observations:
        """Start an episode everywhere, at a random time of its length so that time-outs are spread evenly."""
        self.now = 0
        self._forget()
        self._past.packed.zero_()
        self._episodes.refill()
        self._draw_errors()
        self._begin(torch.ones(self.num_envs, dtype=torch.bool, device=self.device))
        spent = torch.rand(self.num_envs, device=self.device, generator=self.generator) * self.max_steps
        self._timers[:, 0] -= spent.to(torch.int64)
        self._observe()
        return self._observations

    def step(self, action: Tensor) -> Transition:
        if self._recorder.full:
            self._evaluate()
        simulator, inputs, packed = self.simulator, self._actor_inputs, self.simulator.signals.packed
        before, state, taken, after, memory, flags = self._recorder.slots[self._recorder.length]
        before.copy_(packed)
        state.copy_(self._carried)
        taken.copy_(action)
        target, offset = self.decoder.forward(action, inputs["joint_pos"], inputs["joint_vel"], self._memory)
        simulator.step(self._link.send(target, self.now - 1, self._severity), self.substeps)
        self.now += 1
        # the clock and the last action as they will be seen next: rewards and terminations speak of the state after the step
        self._memory.copy_(self.encoder.remember(inputs, action, self._memory, offset))
        self._previous_action.copy_(action)
        after.copy_(packed)
        memory.copy_(self._memory)
        terminated = self._terminated()
        due = self._timers <= self.now
        truncated = due[:, 0] & ~terminated
        torch.stack((terminated, truncated, simulator.faults), out=flags)
        self._recorder.length += 1
        if self.now % AHEAD == 1:
            self._episodes.refill()
            self._draw_errors()
        done = terminated | truncated
        if not self._nowhere(done):
            self._begin(done)
        if self.now % BEAT == 0:
            self._commands_and_events(due, ~done)
        self._observe()
        return Transition(self._observations, terminated, truncated)

    @property
    def elapsed(self) -> Tensor:
        """[N] int64 steps since each episode began. May be set: an episode is cut off ``max_steps`` after its beginning."""
        return self.max_steps - (self._timers[:, 0] - self.now)

    @elapsed.setter
    def elapsed(self, steps: Tensor) -> None:
        self._timers[:, 0] = self.now + self.max_steps - steps

    def rewards(self) -> Tensor:
        self._evaluate()
        result = self._outcome.rewards()
        if self.curricula and len(result):
            score = distributed.agreed(self._outcome.smoothed_score)  # so that levels are the same in all processes
            for one in self.curricula:
                one.update(score, len(result) / curriculum.ROLLOUT)
        return result

    def costs(self) -> Tensor:
        self._evaluate()
        return self._outcome.costs()

    def ended(self) -> Ended:
        self._evaluate()
        return self._outcome.ended(self.spaces.groups)

    def statistics(self) -> dict[str, float]:
        levels = {f"curriculum/{name}": float(one.level) for name, one in zip(self.settings.curricula, self.curricula, strict=True)}
        overflows = getattr(self.simulator, "overflows", None)  # of an engine with room for so many contacts only
        return self._outcome.statistics() | levels | ({} if overflows is None else {"overflows": float(overflows)})

    def policy(self, actor: nn.Module) -> Policy:
        return Policy(self.encoder, actor, self.decoder)

    def state_dict(self) -> dict[str, Any]:
        self._evaluate()  # what the past is as of now
        aligned = self.now % AHEAD == 0  # then noise and episodes are drawn anew before they are next used
        return {
            "now": self.now,
            "carried": self._all.clone(),
            "timers": self._timers.clone(),
            "past": self._past.packed.clone(),
            "inputs": self._inputs.clone(),
            "observations": {name: value.clone() for name, value in self._observations.items()},
            "ahead": None if aligned else {name: tensor.clone() for name, tensor in self._ahead().items()},
            "sensors": self._sensors.state_dict(),
            "link": self._link.state_dict(),
            "generator": self.generator.get_state() if self.generator else None,
            "score": self._outcome.smoothed_score.clone(),
            "curricula": [one.level.clone() for one in self.curricula],
            "simulator": self.simulator.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.now = state["now"]
        for name, tensor in (("carried", self._all), ("timers", self._timers), ("inputs", self._inputs), ("past", self._past.packed)):
            tensor.copy_(state[name])
        self._observations = {name: value.to(self.device, copy=True) for name, value in state["observations"].items()}
        for name, value in (state["ahead"] or {}).items():
            self._ahead()[name].copy_(value)
        self._sensors.load_state_dict(state["sensors"])
        self._link.load_state_dict(state["link"])
        if self.generator:
            self.generator.set_state(state["generator"])
        self._outcome.smoothed_score.copy_(state["score"])
        self.load_levels(state["curricula"])
        self._forget()
        self.simulator.load_state_dict(state["simulator"])

    def follow(self, state: dict[str, Any]) -> None:
        """Begin episodes of its own where curricula had come to in ``state``, which is of another process."""
        self._outcome.smoothed_score.copy_(state["score"])
        self.load_levels(state["curricula"])
        self.reset()

    def load_levels(self, levels: Sequence[Tensor]) -> None:
        """Put the curricula, in their order, at ``levels``."""
        for one, level in zip(self.curricula, levels, strict=True):
            one.level.copy_(level)
            one.apply()

    def close(self) -> None:
        self.simulator.close()

    # how it works

    def _bind_terms(self, settings: TaskSettings) -> None:
        self._outcome = Outcome(settings, self.num_envs, self.device)
        self.rewards_function = self._outcome.rewards_function
        ends = settings.terminations.items()
        self._terminations = {name: terms.termination.bind("task.terminations", name, value) for name, value in ends}

    def _allocate(self, settings: TaskSettings, randomization: RandomizationSettings) -> None:
        n, j, device = self.num_envs, self.robot.num_joints, self.device
        self._sensors = Sensors(randomization, n, j, self.step_seconds, device, AHEAD)
        self._link = Link(randomization, self.simulator, AHEAD)
        measured, c, m = self._sensors.size, len(self.commands.channels), self.encoder.memory_size
        physics = PhysicsSampler(randomization, j, device)
        self.physics = physics
        # what an environment carries from step to step: what the critic is told, previous action, command | memory, severity, sensors
        widths = [len(physics.nominal_told), j, c, m, 1, self._sensors.width]
        self._all = columns(n, sum(widths), device=device)
        self._carried_widths = widths[:3]
        self._told, self._previous_action, self._command, self._memory, self._severity, self._held = self._all.split(widths, dim=-1)
        self._asked = self._all[:, sum(widths[:2]) : sum(widths[:4])]  # command and memory
        self._carried = self._all[:, : sum(self._carried_widths)]
        # what the policy's observation is made of, twice: as sensors say it, and as it is
        self._inputs = columns(2, n, measured + c + m, device=device)
        self._input_widths = [3, 3, j, j, c, m]
        both = self._inputs.view(2 * n, -1)
        self._both_inputs, self._both_memory = self._named(both)
        self._actor_inputs, _ = self._named(self._inputs[0])
        (self._noisy, self._clean), self._told_to = self._inputs[..., :measured], self._inputs[..., measured:]
        self._signal_views = {name: view for name, view in vars(self.simulator.signals).items() if isinstance(view, Tensor)}
        self._events = [terms.event.bind("randomization.events", name, value)() for name, value in randomization.events.items()]
        seconds = [settings.command_seconds, *(one.interval for one in self._events)]
        self._intervals = torch.tensor(seconds, dtype=torch.float32, device=device) / self.step_seconds  # [I, 2] steps
        bound = {name: terms.reset.bind("task.resets", name, value, without=("share",)) for name, value in settings.resets.items()}
        shares = [
            check(ResetShare, {k: v for k, v in value.items() if k == "share"}, f"task.resets.{name}").share
            for name, value in settings.resets.items()
        ]
        self._episodes = Episodes(
            n, j, m, [term(self.robot, self.simulator) for term in bound.values()], [share / sum(shares) for share in shares], physics,
            self._sensors, self.commands, self._intervals, self.max_steps,
            randomization.graded, self.generator,
        )  # fmt: skip
        self._timers = torch.zeros_like(self._episodes.steps)  # [N, 1 + I] steps at which the episode ends, a command or event is due
        self.capacity = min(CAPACITY, max(4, CACHED // n)) if device.type == "cpu" else CAPACITY  # steps in one block
        self._recorder = Recorder(self.capacity, n, self.simulator.signals.packed.shape[1], self._carried.shape[1], m, j, device)
        # what terminations see of each slot from before the step: its signals, the previous action, and the action
        slots, feet = self._recorder.slots, len(self.robot.feet)
        self._past = Past(n, j, feet, device)
        self._before = [(Signals(b, j, feet), state.split(self._carried_widths, dim=-1)[1], taken) for b, state, taken, *_ in slots]
        self.now = 0

    def _named(self, packed: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """Views of packed inputs [n, ...]: by name, and the memory."""
        *parts, memory = packed.split(self._input_widths, dim=-1)
        return dict(zip((*MEASURED, "command"), parts, strict=True)), memory

    def _ahead(self) -> dict[str, Tensor]:
        """What was drawn ahead."""
        return {**self._sensors.drawn(), "episodes": self._episodes.rows, "steps": self._episodes.steps, "used": self._episodes.used}

    def _draw_errors(self) -> None:
        self._sensors.draw(self.generator)
        self._link.draw(self.generator)

    def _nowhere(self, mask: Tensor) -> bool:
        """Nothing to do: on the CPU looking is cheaper than doing, elsewhere looking would have to wait for the device."""
        return self.device.type == "cpu" and not bool(mask.any())

    def _terminated(self) -> Tensor:
        result = faults = self.simulator.faults
        if self._terminations:
            before, previous, action = self._before[self._recorder.length]
            frame = self.frame(self.simulator.signals, before, action, previous, self._command, self._memory, faults, faults, None)
            for name, term in self._terminations.items():
                value = term(frame)
                if value.shape != result.shape or value.dtype != torch.bool:
                    got = f"{value.dtype} {list(value.shape)}"
                    raise InputError(f"task.terminations.{name}", got, f"bool {list(result.shape)}", "Compare, and use [..., N].")
                result = result | value
        return result if self._terminations else faults.clone()

    def _begin(self, mask: Tensor) -> None:
        """Start new episodes where ``mask`` [N] is true."""
        beginning = self._episodes.take(mask)
        if beginning.physics.shape[1]:
            self.simulator.set_parameters(mask, self.physics.named(beginning.physics))
        self.simulator.reset(mask, beginning.initial)
        self._sensors.begin(mask)
        self._link.begin(mask, beginning.initial.joint_pos)
        put(mask, beginning.carried, self._all)
        put(mask, beginning.steps + self.now, self._timers)

    def _commands_and_events(self, due: Tensor, alive: Tensor) -> None:
        """New commands and events where their time has come and no episode has just begun."""
        due = due & alive[:, None]
        due[:, 0] = False
        if self._nowhere(due):
            return
        n, draws = self.num_envs, self.commands.draws
        counts = [draws, *(one.draws for one in self._events), len(self._intervals)]
        u = torch.rand(n, sum(counts), device=self.device, generator=self.generator).split(counts, dim=-1)
        torch.where(due[:, 1:2], self.commands.sample(u[0]), self._command, out=self._command)
        for i, one in enumerate(self._events):
            one.apply(self.simulator, due[:, 2 + i], u[1 + i], self._severity)
        again = self.now + draw_steps(self._intervals, u[-1])
        torch.where(due[:, 1:], again, self._timers[:, 1:], out=self._timers[:, 1:])

    def _observe(self) -> None:
        """Measure the signals, and encode what actor and critic see in one go."""
        signals = self.simulator.signals
        measured = [signals.base_ang_vel, signals.projected_gravity, signals.joint_pos, signals.joint_vel]
        torch.cat(measured, dim=-1, out=self._clean)
        self._sensors.read(self._clean, self._held, self.now - 1, self._noisy, self._severity)
        self._told_to.copy_(self._asked)
        seen = self.encoder.forward(self._both_inputs, self._both_memory)
        n = self.num_envs
        extra = [term(self._signal_views, self._told) for term in self.privileged]
        self._observations = {"actor": seen[:n], "critic": torch.cat([seen[n:], *extra], dim=-1)}

    def frame(
        self,
        signals: Signals,
        before: Signals,
        action: Tensor,
        previous: Tensor,
        command: Tensor,
        memory: Tensor,
        terminated: Tensor,
        ended: Tensor,
        past: Past | None,
    ) -> Frame:
        """Steps as rewards see them: [T, N, ...] (or [N, ...]) around each, ``memory`` packed, ``past`` of before the first."""
        return Frame(
            robot=self.robot_tensors, signals=signals, before=before, action=action, previous_action=previous, command=command,
            command_names=self.commands.channels, memory=self.encoder.split_memory(memory), terminated=terminated, ended=ended,
            past=past, gait=self.gait, generator=self.generator,
            terrain=self.simulator.terrain, control_dt=self.step_seconds,
        )  # fmt: skip

    def recorded_frame(self) -> Frame:
        """The steps since the last :meth:`rewards` (those of the present block), as rewards see them, [T, N]."""
        record, t = self._recorder, self._recorder.length
        before, after = (Signals(x[:t], self.robot.num_joints, len(self.robot.feet)) for x in (record.before, record.after))
        _, previous, command = record.state[:t].split(self._carried_widths, dim=-1)
        ended = record.flags[:t, 0] | record.flags[:t, 1]
        return self.frame(after, before, record.action[:t], previous, command, record.memory[:t], record.flags[:t, 0], ended, self._past)

    @property
    def policy_inputs(self) -> dict[str, Tensor]:
        """What a robot measures, as its sensors say it, and the command: by name, [N, ...]; views."""
        return self._actor_inputs

    def recorded_faults(self) -> Tensor:
        """[T, N] bool: steps of the present block in which a simulation diverged."""
        return self._recorder.flags[: self._recorder.length, 2]

    def _evaluate(self) -> None:
        """Hand the recorded steps over to be worked out, and empty the record."""
        record, t = self._recorder, self._recorder.length
        if t:
            frame = self.recorded_frame()
            self._outcome.add(frame, record.flags[:t], torch.isfinite(record.action[:t]).all(), self._ended())
            self._past.advance(frame.previous_action, frame.airborne, frame.ended)
            record.length = 0

    def _forget(self) -> None:
        """Steps that nobody has asked the rewards of."""
        self._recorder.length = 0
        self._outcome.forget()

    def _ended(self) -> Ended:
        record, t = self._recorder, self._recorder.length
        steps, rows = (record.flags[:t, 0] | record.flags[:t, 1]).nonzero().unbind(-1)
        signals = Signals(record.after[steps, rows], self.robot.num_joints, len(self.robot.feet))
        told, _, command = record.state[steps, rows].split(self._carried_widths, dim=-1)
        inputs = {name: getattr(signals, name) for name in MEASURED} | {"command": command}
        actor = self.encoder.forward(inputs, record.memory[steps, rows])
        views = {name: view for name, view in vars(signals).items() if isinstance(view, Tensor)}
        critic = torch.cat([actor, *(term(views, told) for term in self.privileged)], dim=-1)
        return Ended(steps, rows, {"actor": actor, "critic": critic})
