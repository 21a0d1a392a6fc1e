"""A task: named terms over a simulator, as an :class:`~locomotion.environment.Environment`. One for every robot, engine and device.

Read :meth:`Task.step` first. Nothing in it looks at a tensor's values from the host, except to skip work on the CPU.
"""

from __future__ import annotations

import math
from typing import Annotated, Any

import torch
from pydantic import BeforeValidator, Field
from torch import Tensor, nn

from locomotion.environment import ActionSpace, Ended, NotFiniteError, Observations, Spaces, Symmetry, Transition, concatenate_mirrors
from locomotion.models.policy import Policy
from locomotion.schema import Finite, Positive, PositiveRange, Settings, Text, check
from locomotion.task import curriculum, events, metrics, observations, resets, rewards, terminations, terms
from locomotion.task.actions import ActionDecoder
from locomotion.task.commands import Commands
from locomotion.task.episodes import Episodes, draw_steps
from locomotion.task.frame import Frame, RobotTensors
from locomotion.task.gait import Gait, GaitSettings
from locomotion.task.observations import Context, Encoder, check_term
from locomotion.task.randomization import MEASURED, PhysicsSampler, RandomizationSettings, sensor_scale
from locomotion.task.recorder import Recorder
from robots.errors import InputError, nearest
from sim import Signals, Simulator
from sim.parameters import check_supported

BUILT_IN = (curriculum, events, metrics, observations, resets, rewards, terminations)  # their terms are known once imported
AHEAD = 16  # steps for which noise and episodes are drawn in one call
BEAT = 4  # steps between looks at whose new command or event is due
CAPACITY = 32  # steps that are kept before their rewards are worked out
SMOOTHING = 0.9  # of the score that curricula are told, a rollout


def _present(value: Any) -> Any:
    """A term that is set to null is left out."""
    return {name: settings for name, settings in value.items() if settings is not None} if isinstance(value, dict) else value


Terms = Annotated[dict[str, dict[str, Any]], BeforeValidator(_present)]


class ObservationSettings(Settings):
    actor: Terms  # of terms.observation
    critic: Terms  # of terms.privileged; the critic also sees what the actor sees, without noise


class TaskSettings(Settings):
    """A ``configs/task`` file."""

    name: Annotated[str, Field(pattern=r"^[\w.-]+$", max_length=80)]  # of the default run folder too
    control_dt: Annotated[float, Field(ge=0.001, le=0.1)]  # s
    episode_seconds: Positive
    command_seconds: PositiveRange  # until the next command
    gait: GaitSettings | None
    commands: Terms
    observations: ObservationSettings
    rewards: Terms
    reward_floor: Finite | None  # of the weighted sum of the terms per second
    terminations: Terms
    resets: Terms  # "share" of each: how many of the episodes begin by it
    metrics: Terms
    score: tuple[Text, ...]  # metrics, the least of which is the score
    curricula: Terms


class ResetShare(Settings):
    share: Positive = 1.0


def substeps_of(control_dt: float, physics_dt: float) -> int:
    """Physics steps in a control step. Raises InputError where it is no whole number."""
    substeps = round(control_dt / physics_dt)
    if substeps < 1 or abs(substeps * physics_dt - control_dt) > 1e-9:
        raise InputError("sim.physics_dt", physics_dt, f"a divisor of control_dt = {control_dt}", "Try 0.01, 0.005 or 0.002.")
    return substeps


def make_commands(settings: TaskSettings, device: torch.device) -> Commands:
    """The task's command terms."""
    return Commands([terms.command.bind("task.commands", name, value)(device) for name, value in settings.commands.items()])


def make_encoder(settings: TaskSettings, context: Context) -> Encoder:
    """The policy's observation."""
    bound = {name: terms.observation.bind("task.observations.actor", name, value) for name, value in settings.observations.actor.items()}
    made = {name: term(context) for name, term in bound.items()}
    for name, term in made.items():
        check_term(f"task.observations.actor.{name}", term, context)
    return Encoder(made)


class Task:
    """N environments. All randomness comes from one generator, carried by :meth:`state_dict`."""

    def __init__(self, settings: TaskSettings, simulator: Simulator, randomization: RandomizationSettings, seed: int) -> None:
        self.settings, self.simulator, self.randomization = settings, simulator, randomization
        self.robot, self.num_envs, self.device = simulator.robot, simulator.num_envs, simulator.device
        self.step_seconds, self.substeps = settings.control_dt, substeps_of(settings.control_dt, simulator.physics_dt)
        self.max_steps = max(1, round(settings.episode_seconds / settings.control_dt))
        self.generator = None if self.device.type == "meta" else torch.Generator(device=self.device).manual_seed(seed)
        check_supported(simulator.engine, simulator.supports, set(randomization.parameters))
        self.robot_tensors = RobotTensors(self.robot, simulator)
        self.gait = Gait(settings.gait, self.robot, settings.control_dt, self.device) if settings.gait else None
        for table, value in (
            ("commands", settings.commands),
            ("observations.actor", settings.observations.actor),
            ("rewards", settings.rewards),
        ):
            if not value:
                raise InputError(f"task.{table}", {}, "at least one term", "See configs/task/velocity_flat.yaml.")
        if self.gait is not None and "gait_clock" not in settings.observations.actor:
            raise InputError(
                "task.observations.actor", "no gait_clock", "the clock of the task's gait", "Add gait_clock: {}, or set task.gait=null."
            )
        needs = [f"task.{table}.gait=null" for table in ("rewards", "metrics") if self.gait is None and "gait" in getattr(settings, table)]
        if needs:
            raise InputError("task.gait", None, "a gait, or a task without one", f"Add {' '.join(needs)}.")
        self.commands = make_commands(settings, self.device)
        context = Context(self.robot, self.commands, self.gait, settings.control_dt)
        self.encoder = make_encoder(settings, context).to(self.device)
        self.decoder = ActionDecoder(self.robot, self.device)
        critic = settings.observations.critic.items()
        self._privileged = [terms.privileged.bind("task.observations.critic", name, value)(context) for name, value in critic]
        self._bind_terms(settings)
        self._describe()
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
        self._recorder.length, self._pending, self.now = 0, [], 0
        self._episodes.refill()
        self._draw_noise()
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
        simulator.step(self.decoder(action, inputs["joint_pos"], inputs["joint_vel"]), self.substeps)
        self.now += 1
        # the clock and the last action as they will be seen next: rewards and terminations speak of the state after the step
        self._memory.copy_(self.encoder.remember(inputs, action, self._memory))
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
            self._draw_noise()
        done = terminated | truncated
        if not self._nowhere(done):
            self._begin(done)
        if self.now % BEAT == 0:
            self._commands_and_events(due, ~done)
        self._observe()
        return Transition(self._observations, terminated, truncated)

    def rewards(self) -> Tensor:
        self._evaluate()
        blocks, self._pending = self._pending, []
        if not blocks:
            return torch.zeros(0, self.num_envs, device=self.device)
        result = torch.cat([reward for reward, _, _ in blocks])
        if not bool(torch.stack([finite for _, finite, _ in blocks]).all()):
            raise NotFiniteError("action", "not finite", "finite numbers", "Learning has diverged: lower its rate.")
        if not bool(torch.isfinite(result).all()):
            bad = [name for name, total in zip(self.rewards_function.names, self._sums.tolist(), strict=False) if not math.isfinite(total)]
            raise NotFiniteError(f"task.rewards.{', '.join(bad)}", "not finite", "finite numbers", "Mend the term, or its weight.")
        for one in self.curricula:
            one.update(self._smoothed_score)
        return result

    def ended(self) -> Ended:
        self._evaluate()
        blocks, offset, steps = [ended for _, _, ended in self._pending], 0, []
        for reward, _, block in self._pending:
            steps.append(block.steps + offset)
            offset += len(reward)
        if not blocks:
            none = torch.zeros(0, dtype=torch.int64, device=self.device)
            return Ended(none, none, {name: torch.zeros(0, width, device=self.device) for name, width in self.spaces.groups.items()})
        groups = {name: torch.cat([block.observations[name] for block in blocks]) for name in self.spaces.groups}
        return Ended(torch.cat(steps), torch.cat([block.rows for block in blocks]), groups)

    def statistics(self) -> dict[str, float]:
        sums, steps = self._sums.tolist(), max(self._counted, 1)
        k = len(self.rewards_function.names)
        figures = {f"reward/{name}": sums[i] / steps for i, name in enumerate(self.rewards_function.names)}
        scores = {name: sums[k + i] / steps for i, name in enumerate(self._metrics)}
        figures |= {f"metric/{name}": value for name, value in scores.items()}
        figures |= dict(zip(("falls", "timeouts", "faults"), sums[-3:], strict=True))
        figures["score"] = min(scores[name] for name in self.settings.score)
        self._sums.zero_()
        self._counted = 0
        return figures

    def policy(self, actor: nn.Module) -> Policy:
        return Policy(self.encoder, actor, self.decoder)

    def state_dict(self) -> dict[str, Any]:
        aligned = self.now % AHEAD == 0  # then noise and episodes are drawn anew before they are next used
        return {
            "now": self.now,
            "carried": self._all.clone(),
            "timers": self._timers.clone(),
            "inputs": self._inputs.clone(),
            "observations": {name: value.clone() for name, value in self._observations.items()},
            "ahead": None if aligned else {name: tensor.clone() for name, tensor in self._ahead().items()},
            "generator": self.generator.get_state() if self.generator else None,
            "score": self._smoothed_score.clone(),
            "curricula": [one.level.clone() for one in self.curricula],
            "simulator": self.simulator.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.now = state["now"]
        for name, tensor in (("carried", self._all), ("timers", self._timers), ("inputs", self._inputs)):
            tensor.copy_(state[name])
        self._observations = {name: value.to(self.device, copy=True) for name, value in state["observations"].items()}
        for name, value in (state["ahead"] or {}).items():
            self._ahead()[name].copy_(value)
        if self.generator:
            self.generator.set_state(state["generator"])
        self._smoothed_score.copy_(state["score"])
        for one, level in zip(self.curricula, state["curricula"], strict=True):
            one.level.copy_(level)
            one.apply()
        self._recorder.length, self._pending = 0, []
        self.simulator.load_state_dict(state["simulator"])

    def close(self) -> None:
        self.simulator.close()

    # how it works

    def _bind_terms(self, settings: TaskSettings) -> None:
        self.rewards_function = rewards.Rewards(settings.rewards, settings.reward_floor, settings.control_dt, self.device)
        ends = settings.terminations.items()
        self._terminations = {name: terms.termination.bind("task.terminations", name, value) for name, value in ends}
        self._metrics = {name: terms.metric.bind("task.metrics", name, value) for name, value in settings.metrics.items()}
        for name in settings.score:
            if name not in self._metrics:
                raise InputError("task.score", name, "one of task.metrics", nearest(name, self._metrics))
        if not settings.score:
            raise InputError("task.score", list(settings.score), "at least one of task.metrics", "It chooses best.pt.")

    def _describe(self) -> None:
        actor, symmetry = self.encoder.mirror, None
        if actor is not None:
            critic = concatenate_mirrors(actor, *(term.mirror for term in self._privileged))
            symmetry = Symmetry({"actor": actor, "critic": critic}, (self.robot.mirror.joint_index, self.robot.mirror.joint_sign))
        groups = {"actor": self.encoder.size, "critic": self.encoder.size + sum(term.width for term in self._privileged)}
        self.spaces = Spaces(groups, ActionSpace(*self.decoder.bounds), symmetry)

    def _allocate(self, settings: TaskSettings, randomization: RandomizationSettings) -> None:
        n, j, device = self.num_envs, self.robot.num_joints, self.device
        measured, c, m = 6 + 2 * j, len(self.commands.channels), self.encoder.memory_size
        physics = PhysicsSampler(randomization.parameters, j, device)
        self._physics = physics
        # what an environment carries from step to step: what the critic is told, previous action, command | memory, severity, bias
        widths = [len(physics.nominal_told), j, c, m, 1, measured]
        self._all = torch.zeros(n, sum(widths), device=device)
        self._carried_widths = widths[:3]
        self._told, self._previous_action, self._command, self._memory, self._severity, self._bias = self._all.split(widths, dim=-1)
        self._asked = self._all[:, sum(widths[:2]) : sum(widths[:4])]  # command and memory
        self._carried = self._all[:, : sum(self._carried_widths)]
        # what the policy's observation is made of, twice: as sensors say it, and as it is
        self._inputs = torch.zeros(2, n, measured + c + m, device=device)
        self._input_widths = [3, 3, j, j, c, m]
        both = self._inputs.view(2 * n, -1)
        self._both_inputs, self._both_memory = self._named(both)
        self._actor_inputs, _ = self._named(self._inputs[0])
        self._measured = measured
        self._signal_views = {name: view for name, view in vars(self.simulator.signals).items() if isinstance(view, Tensor)}
        self._noise_scale = 2.0 * sensor_scale(randomization.noise, j, device)
        self._noise = torch.zeros(AHEAD, n, measured, device=device)
        self._events = [terms.event.bind("randomization.events", name, value)() for name, value in randomization.events.items()]
        seconds = [settings.command_seconds, *(one.interval for one in self._events)]
        self._intervals = torch.tensor(seconds, dtype=torch.float32, device=device) / self.step_seconds  # [I, 2] steps
        bound = {name: terms.reset.bind("task.resets", name, value, without=("share",)) for name, value in settings.resets.items()}
        shares = [
            check(ResetShare, {k: v for k, v in value.items() if k == "share"}, f"task.resets.{name}").share
            for name, value in settings.resets.items()
        ]
        if not bound:
            raise InputError("task.resets", {}, "at least one reset term", "For example standing: {}.")
        self._episodes = Episodes(
            n, j, m, [term(self.robot, self.simulator) for term in bound.values()], [share / sum(shares) for share in shares], physics,
            sensor_scale(randomization.bias, j, device), self.commands, self._intervals, self.max_steps,
            randomization.graded, self.generator,
        )  # fmt: skip
        self._timers = torch.zeros_like(self._episodes.steps)  # [N, 1 + I] steps at which the episode ends, a command or event is due
        self._recorder = Recorder(CAPACITY, n, self.simulator.signals.packed.shape[1], self._carried.shape[1], m, j, device)
        # what terminations see of each slot from before the step: its signals, the previous action, and the action
        slots, feet = self._recorder.slots, len(self.robot.feet)
        self._before = [(Signals(b, j, feet), state.split(self._carried_widths, dim=-1)[1], taken) for b, state, taken, *_ in slots]
        self._pending: list[tuple[Tensor, Tensor, Ended]] = []
        self._sums = torch.zeros(len(self.rewards_function.names) + len(self._metrics) + 3, dtype=torch.float64, device=device)
        self._counted, self.now = 0, 0
        self._smoothed_score = torch.zeros((), device=device)

    def _named(self, packed: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """Views of packed inputs [n, ...]: by name, and the memory."""
        *parts, memory = packed.split(self._input_widths, dim=-1)
        return dict(zip((*MEASURED, "command"), parts, strict=True)), memory

    def _ahead(self) -> dict[str, Tensor]:
        """What was drawn ahead."""
        return {"noise": self._noise, "episodes": self._episodes.rows, "steps": self._episodes.steps, "used": self._episodes.used}

    def _draw_noise(self) -> None:
        torch.rand(self._noise.shape, device=self.device, generator=self.generator, out=self._noise)
        self._noise.sub_(0.5).mul_(self._noise_scale)

    def _nowhere(self, mask: Tensor) -> bool:
        """Nothing to do: on the CPU looking is cheaper than doing, elsewhere looking would have to wait for the device."""
        return self.device.type == "cpu" and not bool(mask.any())

    def _terminated(self) -> Tensor:
        result = self.simulator.faults.clone()
        if self._terminations:
            before, previous, action = self._before[self._recorder.length]
            frame = self._frame(self.simulator.signals, before, action, previous, self._command, self._memory, result)
            for name, term in self._terminations.items():
                value = term(frame)
                if value.shape != result.shape or value.dtype != torch.bool:
                    got = f"{value.dtype} {list(value.shape)}"
                    raise InputError(f"task.terminations.{name}", got, f"bool {list(result.shape)}", "Compare, and use [..., N].")
                result = result | value
        return result

    def _begin(self, mask: Tensor) -> None:
        """Start new episodes where ``mask`` [N] is true."""
        beginning, rows = self._episodes.take(mask), mask[:, None]
        if beginning.physics.shape[1]:
            self.simulator.set_parameters(mask, self._physics.named(beginning.physics))
        self.simulator.reset(mask, beginning.initial)
        torch.where(rows, beginning.carried, self._all, out=self._all)
        torch.where(rows, beginning.steps + self.now, self._timers, out=self._timers)

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
        """Measure the signals with bias and noise, and encode what actor and critic see in one go."""
        signals, s, inputs = self.simulator.signals, self._measured, self._inputs
        clean = torch.cat([signals.base_ang_vel, signals.projected_gravity, signals.joint_pos, signals.joint_vel], dim=-1)
        inputs[1, :, :s] = clean
        torch.add(clean, self._bias, out=clean)
        torch.addcmul(clean, self._noise[(self.now - 1) % AHEAD], self._severity, out=inputs[0, :, :s])
        inputs[:, :, s:] = self._asked
        seen = self.encoder.forward(self._both_inputs, self._both_memory)
        n = self.num_envs
        extra = [term(self._signal_views, self._told) for term in self._privileged]
        self._observations = {"actor": seen[:n], "critic": torch.cat([seen[n:], *extra], dim=-1)}

    def _frame(
        self, signals: Signals, before: Signals, action: Tensor, previous: Tensor, command: Tensor, memory: Tensor, terminated: Tensor
    ) -> Frame:
        return Frame(
            robot=self.robot_tensors, signals=signals, before=before, action=action, previous_action=previous, command=command,
            command_names=self.commands.channels, memory=self.encoder.split_memory(memory), terminated=terminated, gait=self.gait,
            terrain=self.simulator.terrain, control_dt=self.step_seconds,
        )  # fmt: skip

    def recorded_frame(self) -> Frame:
        """The steps since the last :meth:`rewards` (those of the present block), as rewards see them, [T, N]."""
        record, t = self._recorder, self._recorder.length
        before, after = (Signals(x[:t], self.robot.num_joints, len(self.robot.feet)) for x in (record.before, record.after))
        _, previous, command = record.state[:t].split(self._carried_widths, dim=-1)
        return self._frame(after, before, record.action[:t], previous, command, record.memory[:t], record.flags[:t, 0])

    def _evaluate(self) -> None:
        """Work out rewards [T, N] of the recorded steps, whether all was finite, and the ends of episodes; empty the record."""
        record, t = self._recorder, self._recorder.length
        if t == 0:
            return
        frame = self.recorded_frame()
        terminated, truncated, faults = record.flags[:t].unbind(1)
        # a faulted environment's state means nothing: no reward from it
        reward, unweighted = self.rewards_function(frame, ~faults)
        scores = torch.stack([term(frame) for term in self._metrics.values()])
        counts = torch.stack([terminated.sum(), truncated.sum(), faults.sum()])
        valid = ~faults
        sums = [torch.where(valid, x, 0.0).sum(dim=(1, 2)).double() for x in (unweighted, scores)]
        self._sums += torch.cat([sums[0] * self.rewards_function.weights, sums[1], counts.double()])
        self._counted += t * self.num_envs
        score = sums[1] / (t * self.num_envs)
        chosen = torch.stack([score[list(self._metrics).index(name)] for name in self.settings.score]).min().float()
        self._smoothed_score.copy_(torch.lerp(chosen, self._smoothed_score, SMOOTHING))
        finite = torch.isfinite(record.action[:t]).all()
        self._pending.append((reward, finite, self._ended()))
        record.length = 0

    def _ended(self) -> Ended:
        record, t = self._recorder, self._recorder.length
        steps, rows = (record.flags[:t, 0] | record.flags[:t, 1]).nonzero().unbind(-1)
        signals = Signals(record.after[steps, rows], self.robot.num_joints, len(self.robot.feet))
        told, _, command = record.state[steps, rows].split(self._carried_widths, dim=-1)
        inputs = {name: getattr(signals, name) for name in MEASURED} | {"command": command}
        actor = self.encoder.forward(inputs, record.memory[steps, rows])
        views = {name: view for name, view in vars(signals).items() if isinstance(view, Tensor)}
        critic = torch.cat([actor, *(term(views, told) for term in self._privileged)], dim=-1)
        return Ended(steps, rows, {"actor": actor, "critic": critic})
