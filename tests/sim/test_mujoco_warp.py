"""The GPU engine, on Warp's CPU device, against C MuJoCo step by step: the same robots, motors, parameters and ground."""

import importlib

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import robots
import sim
from locomotion import build
from locomotion.evaluation import scorecard
from locomotion.runs import checkpoint
from locomotion.runs.start import resume, start
from robots import InputError
from sim.mujoco_batch import EXPANDED
from sim.mujoco_warp import DERIVED, WarpSimulator, find_device, most_contacts
from sim.parameters import nominal_values
from tests.conftest import only, standing, tiny

pytestmark = pytest.mark.usefixtures("warp")

N, DT = 4, 0.005
ALL = only(N)
# largest difference from C MuJoCo (float64) in the first second: measured below a tenth of it
TOLERANCE = {
    "base_pos": 1e-4, "base_quat": 1e-4, "joint_pos": 1e-4, "base_lin_vel_world": 1e-3, "base_ang_vel": 2e-3, "joint_vel": 5e-3,
    "joint_torque": 5e-3, "foot_contact_force": 0.05, "foot_pos": 1e-4, "foot_vel": 2e-3, "foot_contacts": 0.0, "ground_contacts": 0.0,
    "base_lin_vel": 1e-3, "projected_gravity": 1e-4,
}  # fmt: skip
# values of the parameters, [low, high] of robots that each have their own
RANGES = {
    "friction": (0.2, 1.2), "base_mass_offset": (-2.0, 4.0), "base_com_offset": (-0.05, 0.05), "payload_mass": (1.0, 3.0),
    "payload_pos": (-0.1, 0.1), "link_mass_scale": (0.7, 1.4), "inertia_scale": (0.7, 1.5), "kp_scale": (0.8, 1.2),
    "kd_scale": (0.7, 1.4), "motor_strength": (0.7, 1.1), "effort_limit_scale": (0.4, 0.8), "armature_scale": (0.5, 2.0),
    "joint_friction_scale": (0.5, 3.0), "joint_damping_scale": (0.5, 3.0), "joint_zero_offset": (-0.05, 0.05),
    "action_delay": (0.004, 0.03), "action_jitter": (0.001, 0.009), "gravity_scale": (0.8, 1.2), "ground_slope": (-0.15, 0.15),
}  # fmt: skip


def random(generator, names=tuple(RANGES)):
    """Values of parameters, every robot its own."""
    draw = {name: torch.rand(nominal()[name].shape, generator=generator) for name in names}
    return {name: RANGES[name][0] + (RANGES[name][1] - RANGES[name][0]) * value for name, value in draw.items()}


def nominal():
    return {name: value for name, value in nominal_values(N, 12).items() if name != "restitution"}


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def make(go2, engine="mujoco_warp", n=N, dt=DT, **more):
    given = {"device": "cpu"} if engine == "mujoco_warp" else {"threads": 1}
    return sim.make(engine, go2, n, dt, **given, **more)


def moving(go2, generator, height=0.32):
    """Robots that fall a little, turn and swing their legs, each otherwise."""
    state = standing(go2, N, yaw=torch.tensor([0.0, 1.5, -2.0, 3.0]), height=height)
    state.base_lin_vel_world[:] = 0.4 * torch.randn(N, 3, generator=generator)
    state.base_ang_vel[:] = 0.5 * torch.randn(N, 3, generator=generator)
    state.joint_vel[:] = torch.randn(N, 12, generator=generator)
    return state


def targets(go2, generator, steps, spread=0.25):
    return torch.tensor(go2.default_joint_pos).float() + spread * torch.randn(steps, N, 12, generator=generator)


def assert_close(ours, theirs, factor=1.0):
    for name, tolerance in TOLERANCE.items():
        difference = (getattr(ours.signals, name) - getattr(theirs.signals, name)).abs().max().item()
        assert difference <= factor * tolerance, name


@pytest.fixture(scope="module")
def pair(warp):
    """The GPU engine and C MuJoCo, with the same robots; a test leaves their parameters nominal."""
    go2 = robots.load("unitree_go2")
    return make(go2), make(go2, "mujoco")


@pytest.mark.parametrize("actuator", ["pd", "dc_motor"])
def test_it_goes_as_c_mujoco_does(go2, actuator):
    """Through touchdown, slipping, pushes and wrenches, every robot with parameters of its own."""
    generator = seeded(1)
    engines = [make(go2, engine, actuator=actuator) for engine in ("mujoco_warp", "mujoco")]
    state, values = moving(go2, generator), random(generator)
    push, press = 0.3 * torch.randn(N, 2, generator=generator), 10.0 * torch.randn(N, 6, generator=generator)
    for engine in engines:
        engine.set_parameters(ALL, values)
        engine.reset(ALL, state)
    assert_close(*engines)
    for t, target in enumerate(targets(go2, generator, 32)):
        for engine in engines:
            if t == 10:
                engine.push(only(N, 0, 2), push)
            if t in (15, 30):
                engine.wrench(only(N, 1, 2), press * (t == 15))
        assert_close(*engines)
        for engine in engines:
            engine.step(target, 3)
        assert_close(*engines)
    assert engines[1].signals.ground_contacts.min() > 0
    assert not engines[0].overflows


@pytest.mark.parametrize("name", RANGES)
def test_each_parameter_does_what_it_does_in_c_mujoco(go2, pair, name):
    """Alone, and it does something; the masks of both engines mean the same."""
    after, state, drive = {}, moving(go2, seeded(2)), targets(go2, seeded(3), 4, spread=0.6)
    others = {"payload_mass"} if name == "payload_pos" else set()
    for value in ({}, random(seeded(4), tuple({name, *others}))):
        for engine in pair:
            engine.set_parameters(ALL, nominal())
            engine.set_parameters(only(N, 1, 2, 3), value)
            engine.reset(ALL, state)
            for target in drive:
                engine.step(target, 3)
        assert_close(*pair)
        after[bool(value)] = pair[0].signals.packed.clone()
    assert torch.equal(after[True][0], after[False][0])
    assert all((after[True][i] - after[False][i]).abs().max() > 1e-3 for i in (1, 2, 3))
    for engine in pair:
        engine.set_parameters(ALL, nominal())


def test_every_parameter_but_restitution_is_tried_here(pair):
    assert set(RANGES) == pair[0].supports & sim.PARAMETERS.keys() == set(sim.PARAMETERS) - {"restitution"}
    assert pair[0].supports == pair[1].supports - {"terrain"}


def test_the_models_of_all_robots_are_those_of_c_mujoco(go2, pair):
    """Constants that derive from masses, too; and nominal values bring the nominal model back, to the bit."""
    ours, theirs = pair
    fields = [name for name in (*EXPANDED, *DERIVED) if name != "opt.gravity"]

    def model():
        return {name: ours._wp.to_torch(getattr(ours._m, name)).clone() for name in fields}

    for engine in pair:
        engine.set_parameters(ALL, nominal())
    fresh = model()
    for engine in pair:
        engine.set_parameters(ALL, random(seeded(5)) | {"base_mass_offset": torch.tensor([-100.0, -1.0, 0.0, 3.0])})
    for name, value in model().items():
        for env in range(N):
            expected = getattr(theirs.mj_model_data(env)[0], name).reshape(value[env].shape)
            np.testing.assert_allclose(value[env], expected, rtol=2e-4, atol=1e-5, err_msg=name)
    for engine in pair:
        engine.set_parameters(ALL, nominal())
    assert all(torch.equal(value, fresh[name]) for name, value in model().items())


def test_friction_of_a_steep_shin_lies_along_it_as_in_c_mujoco(go2, pair):
    """The frames of all contacts, with shins at 73 degrees to the ground, turned by the robots' headings."""
    ours, theirs = pair
    state = standing(go2, N, yaw=torch.tensor([0.0, 1.0, -2.0, 3.0]), height=0.3)
    state.joint_pos[:] = torch.tensor([0.0, 0.6, -0.9]).repeat(4)
    for engine in pair:
        engine.reset(ALL, state)
    contact, capsules = ours._d.contact, 0
    count = int(ours._view("nacon"))
    worlds, geoms, frames = (ours._wp.to_torch(part)[:count].numpy() for part in (contact.worldid, contact.geom, contact.frame))
    for env in range(N):
        model, data = theirs.mj_model_data(env)
        found = {tuple(pair): frame for pair, frame in zip(geoms[worlds == env].tolist(), frames[worlds == env], strict=True)}
        assert len(found) == len({tuple(one.geom) for one in data.contact})
        for one in data.contact:
            np.testing.assert_allclose(found[tuple(one.geom)].flatten(), one.frame, atol=1e-5)
            capsules += model.geom_type[one.geom[1]] == 3
    assert capsules >= N


@pytest.mark.parametrize("delay", [0.0, 0.003, 0.005, 0.012, 0.02, 0.06])
def test_a_target_takes_the_delay_to_reach_the_motors_even_after_an_hour(go2, pair, delay):
    """To the physics step, rounded up; float32 seconds would have lost count by then."""
    simulator, state = pair[0], standing(go2, N, height=1.0)
    simulator.set_parameters(ALL, {"action_delay": torch.full((N,), delay)})
    for time in (0.0, 3600.0):
        simulator.reset(ALL, state)
        simulator._time.fill_(time)
        steps = 0
        while simulator.signals.joint_torque.abs().min() < 3.0:
            simulator.step(state.joint_pos + 0.3, 1)
            steps += 1
        assert steps == 1 + int(np.ceil(delay / DT - 1e-6))
    simulator.set_parameters(ALL, {"action_delay": torch.zeros(N)})


def test_a_reset_leaves_the_others_untouched_to_the_bit(go2, pair):
    simulator, drive, ends = pair[0], targets(go2, seeded(6), 12), []
    for resetting in (False, True):
        simulator.reset(ALL, moving(go2, seeded(7)))
        for target in drive[:6]:
            simulator.step(target, 2)
        if resetting:
            before = simulator.signals.packed.clone()
            simulator.set_parameters(only(N, 1, 3), random(seeded(8)))
            simulator.reset(only(N, 1, 3), standing(go2, N, height=0.9))
            assert torch.equal(simulator.signals.packed[[0, 2]], before[[0, 2]])
            np.testing.assert_allclose(simulator.signals.base_pos[[1, 3], 2], 0.9)
            assert simulator.signals.ground_contacts[[1, 3]].max() == 0
        for target in drive[6:]:
            simulator.step(target, 2)
        ends.append(simulator.signals.packed.clone())
    assert torch.equal(ends[0][[0, 2]], ends[1][[0, 2]])
    assert not torch.equal(ends[0][[1, 3]], ends[1][[1, 3]])
    simulator.set_parameters(ALL, nominal())


def test_a_reset_forgets_wrench_and_torque(go2, pair):
    simulator = pair[0]
    simulator.reset(ALL, standing(go2, N))
    simulator.wrench(ALL, torch.full((N, 6), 20.0))
    simulator.step(standing(go2, N).joint_pos + 0.3, 3)
    simulator.reset(ALL, standing(go2, N, height=2.0))
    assert simulator.signals.joint_torque.abs().max() < 1e-5
    simulator.step(standing(go2, N).joint_pos, 4)
    assert simulator.signals.base_lin_vel_world[:, :2].abs().max() < 1e-5


def test_the_same_again_and_a_continuation_are_the_same_bytes(go2):
    """A second simulator does what the first did; a third takes over amid it."""
    first, second, third = (make(go2) for _ in range(3))
    drive, values = targets(go2, seeded(9), 10), random(seeded(10))
    for simulator in (first, second):
        simulator.set_parameters(ALL, values)
        simulator.reset(ALL, moving(go2, seeded(11)))
        simulator.wrench(only(N, 2), torch.full((N, 6), 3.0))
    for t, target in enumerate(drive):
        if t == 5:
            first.push(only(N, 1), torch.full((N, 2), 0.3))
            second.push(only(N, 1), torch.full((N, 2), 0.3))
            third.load_state_dict(first.state_dict())
        for simulator in (first, second, third) if t >= 5 else (first, second):
            simulator.step(target, 2)
            assert torch.equal(simulator.signals.packed, first.signals.packed)
    second.reset(only(N, 0), standing(go2, N))
    third.reset(only(N, 0), standing(go2, N))
    assert torch.equal(second.signals.packed, third.signals.packed)


@pytest.mark.parametrize("poison", [float("nan"), float("inf"), 1e6, 1e8, 1e10])
def test_a_diverged_robot_is_reported_and_the_others_go_on(go2, pair, poison):
    simulator, ends = pair[0], []
    for bad in (0.0, poison):
        state = moving(go2, seeded(12))
        state.joint_vel[1] += bad
        simulator.reset(ALL, state)
        simulator.step(state.joint_pos, 4)
        assert simulator.faults.tolist() == [False, bool(bad), False, False]
        assert torch.isfinite(simulator.signals.packed).all()
        ends.append(simulator.signals.packed.clone())
        pair[1].reset(ALL, state)
        pair[1].step(state.joint_pos, 4)
        assert torch.equal(pair[1].faults, simulator.faults)
    assert torch.equal(ends[0][[0, 2, 3]], ends[1][[0, 2, 3]])
    simulator.reset(only(N, 1), moving(go2, seeded(12)))
    simulator.step(state.joint_pos, 4)
    assert not simulator.faults.any()


def test_contacts_without_room_are_counted_and_said(go2, capsys):
    simulator = make(go2, contacts=2)
    simulator.reset(ALL, standing(go2, N, height=2.0))
    simulator.step(standing(go2, N).joint_pos, 2)
    assert simulator.overflows == 0
    simulator.reset(ALL, standing(go2, N, height=0.3))
    simulator.step(standing(go2, N).joint_pos, 2)
    assert 0 < simulator.overflows <= N
    again = simulator.overflows.item()
    simulator.step(standing(go2, N).joint_pos, 2)
    assert again < simulator.overflows <= again + N  # counted step by step, not once
    simulator.close()
    assert "control steps of robots there were more contacts than sim.contacts=2" in capsys.readouterr().err
    simulator.close()
    assert not capsys.readouterr().err


def test_there_is_room_for_all_contacts_with_the_ground(go2):
    """Rolled onto the back, the side, the belly and the knees, legs folded: no more than most_contacts()."""
    simulator, most = make(go2, dt=0.01), 0
    state = standing(go2, N, height=0.2)
    state.base_quat[:] = torch.tensor([[0.0, 1.0, 0.0, 0.0], [0.7071, 0.7071, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0], [0.92, 0.0, 0.38, 0.0]])
    state.joint_pos[:] = torch.tensor(go2.lie_joint_pos)
    simulator.reset(ALL, state)
    for _ in range(15):
        simulator.step(state.joint_pos, 4)
        most = max(most, int(simulator.signals.ground_contacts.max()))
    assert most_contacts(simulator.model) == 5 + 8 * 2 + 4 >= most >= 6
    assert not simulator.overflows


class NoLooks(TorchDispatchMode):
    """Raises where the host asks for a value, as a device of its own would have to be waited for."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        assert name not in ("_local_scalar_dense", "nonzero", "is_nonzero", "equal", "masked_select", "unique_dim"), name
        if name in ("index", "index_put_"):
            assert all(index is None or index.dtype == torch.int64 for index in args[1]), "rows are found on the host"
        return func(*args, **(kwargs or {}))


def test_no_call_looks_at_a_value(go2, pair, monkeypatch):
    """But the shortcuts of the CPU, which are off here."""
    simulator, state, values = pair[0], moving(go2, seeded(13)), random(seeded(14))
    del values["action_delay"]  # on the CPU alone it is checked
    monkeypatch.setattr(simulator, "_nobody", lambda mask: False)
    mask, push, press = only(N, 1, 2), torch.ones(N, 2), torch.ones(N, 6)
    with NoLooks():
        simulator.set_parameters(mask, values)
        simulator.reset(mask, state)
        simulator.push(mask, push)
        simulator.wrench(mask, press)
        simulator.step(state.joint_pos, 2)
        assert simulator.signals.packed.shape == (N, 96)
    simulator.set_parameters(ALL, nominal())


def test_signals_share_memory_with_warp(pair):
    simulator = pair[0]
    for name, tensor in (("qpos", simulator._qpos), ("ctrl", simulator._ctrl), ("sensordata", simulator._sensors)):
        assert tensor.data_ptr() == getattr(simulator._d, name).ptr
    assert simulator._fields["body_mass"].data_ptr() == simulator._m.body_mass.ptr


def test_on_a_gpu_each_work_is_captured_once_and_started_on_torch_s_stream(pair, monkeypatch):
    """With a Warp that only takes notes: there is no GPU here."""
    calls = []

    class Notes:
        def ScopedDevice(self, name):
            return NoDevice()

        def ScopedCapture(self):
            calls.append("capture")
            return NoDevice()

        def capture_launch(self, graph, stream):
            calls.append((graph, stream))

        def stream_from_torch(self, stream):
            return f"torch {stream}"

    class NoDevice:
        graph = "graph"

        def __enter__(self):
            return self

        def __exit__(self, *_):
            return None

    simulator = object.__new__(WarpSimulator)
    simulator.device, simulator._wp, simulator._graphs = torch.device("cuda", 0), Notes(), {}
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: "stream")
    for key in ("a", "a", "b", "a"):
        simulator._launch(key, lambda key=key: calls.append(key))
    launch = ("graph", "torch stream")
    assert calls == ["capture", "a", launch, launch, "capture", "b", launch, launch]


def test_every_process_of_one_training_has_a_gpu_of_its_own(monkeypatch):
    chosen = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    assert find_device(None) == find_device("cuda") == torch.device("cuda", 0)
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert find_device("cuda") == torch.device("cuda", 1)
    assert find_device("cuda:0") == torch.device("cuda", 0)
    assert chosen == [0, 0, 1, 0]
    monkeypatch.setenv("LOCAL_RANK", "2")
    with pytest.raises(InputError, match=r"there is cuda:0, cuda:1"):
        find_device("cuda")


def test_bad_settings_are_refused_with_one_clear_error(go2, monkeypatch):
    if not torch.cuda.is_available():
        with pytest.raises(InputError, match=r"sim\.device.*'cuda'.*no CUDA device.*sim\.device=cpu"):
            sim.make("mujoco_warp", go2, 1, DT, device="cuda")
        with pytest.raises(InputError, match=r"sim\.device.*cuda:3"):
            find_device("cuda:3")
    with pytest.raises(InputError, match=r"sim\.device.*gpu"):
        find_device("gpu")
    with pytest.raises(InputError, match="engine with terrain: mujoco"):
        sim.make("mujoco_warp", go2, 1, DT, device="cpu", terrain=sim.Terrain(torch.zeros(3, 3)))
    with pytest.raises(InputError, match=r"restitution.*mujoco_warp"):
        build.task(tiny("sim=mujoco_warp", "sim.device=cpu", "+randomization.parameters.restitution=[0.0,0.5]"))
    real = importlib.import_module

    def without(name, *args):
        if name == "mujoco_warp":
            raise ImportError(name)
        return real(name, *args)

    monkeypatch.setattr(importlib, "import_module", without)
    with pytest.raises(InputError, match=r"pip install 'sim2real-locomotion\[warp\]'"):
        sim.make("mujoco_warp", go2, 1, DT, device="cpu")


def test_a_learned_actuator_is_refused(go2):
    from sim.actuation import NETWORKS

    NETWORKS["test"] = lambda *_: None
    try:
        with pytest.raises(InputError, match="learned actuators"):
            sim.make("mujoco_warp", go2, 1, DT, device="cpu", actuator="test")
    finally:
        del NETWORKS["test"]


def test_a_task_goes_as_it_does_on_c_mujoco():
    """Observations and rewards of a rollout with everything randomized, resets, commands, pushes and delays among it."""
    tasks = [build.task(tiny(*words)) for words in (("sim=mujoco",), ("sim=mujoco_warp", "sim.device=cpu"))]
    generator, ended = seeded(15), 0
    for task in tasks:
        task._timers[:, 0] = torch.tensor([3, 6, 9, 50, 50, 50])
    for _ in range(14):
        action = torch.randn(6, 12, generator=generator)
        steps = [task.step(action) for task in tasks]
        ended += int(steps[0].truncated.sum())
        for name, seen in steps[0].observations.items():
            np.testing.assert_allclose(steps[1].observations[name], seen, atol=5e-3, err_msg=name)
        assert torch.equal(steps[0].terminated, steps[1].terminated)
    rewards = [task.rewards() for task in tasks]
    np.testing.assert_allclose(rewards[1], rewards[0], atol=5e-3)
    assert ended == 3
    assert tasks[1].statistics()["overflows"] == 0.0


class Silent:
    def iteration(self, *_):
        pass


def test_it_trains_and_a_resumed_run_is_the_same_bytes(tmp_path):
    words = ["sim=mujoco_warp", "sim.device=cpu", "iterations=2", "algorithm.num_envs=4", "algorithm.steps=6"]

    def run(name, *more):
        settings = tiny(*words, f"run={tmp_path / name}", *more)
        return start(settings, lambda _: Silent(), print)

    run("whole")
    run("cut", "iterations=1")
    resume(str(tmp_path / "cut"), {"iterations": 2}, lambda _: Silent(), print)
    whole, cut = (checkpoint.load(tmp_path / name / "last.pt") for name in ("whole", "cut"))
    for part in ("learner", "environment"):
        assert_same(whole[part], cut[part])
    assert whole["provenance"]["engine"] == "mujoco_warp"
    assert whole["provenance"]["versions"].keys() >= {"mujoco-warp", "warp-lang"}


def assert_same(a, b):
    if isinstance(a, dict):
        assert a.keys() == b.keys()
        for key in a:
            assert_same(a[key], b[key])
    elif isinstance(a, list | tuple):
        for x, y in zip(a, b, strict=True):
            assert_same(x, y)
    elif isinstance(a, torch.Tensor):
        assert torch.equal(a, b)
    else:
        assert a == b


def test_best_pt_is_chosen_in_the_engine_that_score_sim_names(tmp_path, monkeypatch):
    asked = []

    def quick(*args):
        asked.append(args[-2:])
        return {"selection": 0.0}

    monkeypatch.setattr(scorecard, "quick", quick)
    few = ["iterations=1", "score_every=1"]
    start(tiny(*few, "score_sim=mujoco_warp", f"run={tmp_path / 'a'}"), lambda _: Silent(), print)
    start(tiny(*few, f"run={tmp_path / 'b'}"), lambda _: Silent(), print)
    assert asked == [("mujoco_warp", None), ("mujoco", None)]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["anymal_c", "unitree_g1", "unitree_g1.legs", "unitree_go1"])
def test_other_robots_go_as_in_c_mujoco(name):
    robot = robots.load(name)
    engines = [make(robot, engine, n=2) for engine in ("mujoco_warp", "mujoco")]
    generator, state = seeded(16), standing(robot, 2)
    for engine in engines:
        engine.reset(only(2), state)
    for _ in range(25):
        target = state.joint_pos + 0.1 * torch.randn(2, robot.num_joints, generator=generator)
        for engine in engines:
            engine.step(target, 4)
        assert_close(*engines, factor=10)


@pytest.mark.slow
def test_firm_friction_and_self_collision_go_as_in_c_mujoco(go2):
    engines = [make(go2, engine, firm=True, self_collision=True) for engine in ("mujoco_warp", "mujoco")]
    generator, state = seeded(17), moving(go2, seeded(18))
    for engine in engines:
        engine.reset(ALL, state)
    for target in targets(go2, generator, 25, spread=0.4):
        for engine in engines:
            engine.step(target, 4)
        assert_close(*engines, factor=10)
