"""What broken descriptions and models are told: the field, what came, and how to mend it."""

import math

import pytest

from robots import InputError
from robots.errors import MOST_KNOWN, nearest
from robots.model import build_spec
from robots.robot import from_yaml
from tests.robots.broken import MISSING, go2_copy

JOINTS = [f"{leg}_{part}_joint" for leg in ("FL", "FR", "RL", "RR") for part in ("hip", "thigh", "calf")]
FEET = ["FL_foot", "FR_foot", "RL_foot", "RR_foot"]
SWAP = {"FL_": "FR_", "RL_": "RR_"}


def with_hips(value):
    return {"*_hip_joint": value, "*_thigh_joint": 1.0, "*_calf_joint": 1.0}


DESCRIPTIONS = {  # what is changed: the field that is named, and what else the message says
    "unknown key": ({"wieght": 3}, "wieght", "known field"),
    "misspelt key": ({"joint_name": JOINTS}, "joint_name", "Did you mean joint_names"),
    "missing key": ({"kd": MISSING}, "kd", "add 'kd:'"),
    "number as a key": ({5: 3}, "robot.yaml", "text as a key"),
    "name is a number": ({"name": 3}, "name", "text"),
    "feet are one text": ({"feet": "FL_foot"}, "feet", "list"),
    "no feet": ({"feet": []}, "feet", "at least one"),
    "a foot twice": ({"feet": [*FEET[:3], "FL_foot"]}, "feet", "every name once"),
    "a joint twice": ({"joint_names": [*JOINTS, "FL_hip_joint"]}, "joint_names", "every name once"),
    "no joints": ({"joint_names": None}, "joint_names", "at least one"),
    "a joint without a name": ({"joint_names": [*JOINTS[:11], 12]}, "joint_names", "text"),
    "text for a number": ({"kp": "1e-3"}, "kp", "1.0e-3"),
    "text within a mapping": ({"kp": with_hips("35")}, r"kp: \*_hip_joint", "without quotes"),
    "a truth value": ({"kp": True}, "kp", "one number"),
    "not a number": ({"joint_vel_limit": math.nan}, "joint_vel_limit", "from"),
    "infinite": ({"effort_limit": math.inf}, "effort_limit", "from"),
    "an absurdly large integer": ({"kp": 10**400}, "kp", "from"),
    "two numbers for one": ({"kp": [35.0, 35.0]}, "kp", "one number"),
    "a negative gain": ({"kp": -1.0}, "kp", "0.1 to"),
    "no gain": ({"kd": 0.0}, "kd", "0.001 to"),
    "a gain of another robot": ({"kp": 1.0}, "kp", "effort_limit / kp"),
    "a stiff gain": ({"kp": 5000.0}, "kp", "effort_limit / kp"),
    "kd for kp": ({"kd": 100.0}, "kd", "kd / kp"),
    "a weak motor": ({"effort_limit": 0.1}, "kp", "effort_limit / kp"),
    "no effort": ({"effort_limit": 0.0}, "effort_limit", "from"),
    "no speed": ({"joint_vel_limit": 0.0}, "joint_vel_limit", "from"),
    "an action in degrees": ({"action_scale": 30.0}, "action_scale", "from"),
    "a joint without a figure": ({"kp": {"*_hip_joint": 35.0}}, "kp", "found 0"),
    "a joint with two figures": ({"kp": {"*": 35.0, "FL_*": 35.0}}, "kp", "found 2"),
    "a pattern for no joint": ({"kp": {"*": 35.0, "*_knee_joint": 35.0}}, "kp", "matches a joint"),
    "one limit for two": ({"joint_pos_limit": 3.0}, "joint_pos_limit", "list of 2"),
    "three limits": ({"joint_pos_limit": [-3.0, 0.0, 3.0]}, "joint_pos_limit", "list of 2"),
    "limits in degrees": ({"joint_pos_limit": [-60.0, 60.0]}, "joint_pos_limit", "in rad"),
    "limits reversed": ({"joint_pos_limit": [3.0, -3.0]}, "joint_pos_limit", "Swap"),
    "a default outside the limits": ({"default_joint_pos": 3.0}, "default_joint_pos", "within joint_pos_limit of FL_hip_joint"),
    "lying outside the limits": ({"lie_joint_pos": 0.0}, "lie_joint_pos", "within joint_pos_limit of FL_calf_joint"),
    "height in centimetres": ({"standing_height": 31.0}, "standing_height", "0.05 to 3 m"),
    "a flat robot": ({"standing_height": 0.01}, "standing_height", "0.05 to 3 m"),
    "a high swing": ({"swing_height": 0.2}, "swing_height", "half of standing_height"),
    "no swing": ({"swing_height": 0.0}, "swing_height", "from"),
    "one frequency": ({"stride_frequency": 2.0}, "stride_frequency", "list of 2"),
    "a stride in milliseconds": ({"stride_frequency": [500.0, 500.0]}, "stride_frequency", "Hz"),
    "a group that is one pattern": ({"joint_groups": {"hip": "*_hip_joint"}}, "joint_groups: hip", "list"),
    "a group without joints": ({"joint_groups": {"toes": ["*_toe_joint"]}}, "joint_groups: toes", "matches a joint"),
    "no groups": ({"joint_groups": []}, "joint_groups", "mapping"),
    "a gait of two feet": ({"gaits": {"trot": [0.0, 0.5]}}, "gaits: trot", "list of 4"),
    "a gait beyond a cycle": ({"gaits": {"trot": [0.0, 0.5, 0.5, 1.0]}}, "gaits: trot", "below 1"),
    "a gait in degrees": ({"gaits": {"trot": [0, 180, 180, 0]}}, "gaits: trot", "cycles"),
    "a mirror without swap": ({"mirror": {"negate": []}}, "mirror: swap", "missing"),
    "a mirror without negate": ({"mirror": {"swap": SWAP}}, "mirror: negate", "missing"),
    "a mirror with more": ({"mirror": {"swap": SWAP, "negate": [], "flip": 1}}, "mirror: flip", "known field"),
    "a mirror to nowhere": ({"mirror": {"swap": {"FL_": "XX_"}, "negate": []}}, "mirror: swap", "mirror image"),
    "a mirror in a circle": ({"mirror": {"swap": {"FL_": "FR_", "FR_": "RL_"}, "negate": []}}, "mirror: swap", "keep one"),
    "a mirror that does not come back": ({"mirror": {"swap": {"FL_": "FR_", "FR": "RR"}, "negate": []}}, "mirror: swap", "applied twice"),
    "a mirror that negates one side": ({"mirror": {"swap": SWAP, "negate": ["FL_hip_joint"]}}, "mirror: negate", "both, or neither"),
    "a mirror that negates nothing": ({"mirror": {"swap": SWAP, "negate": ["*_yaw_joint"]}}, "mirror: negate", "matches a joint"),
    "no model": ({"model": "go2.xml"}, "model", "There is no"),
    "a folder for a model": ({"model": "."}, "model", "a file"),
}


@pytest.mark.parametrize(("changes", "field", "says"), DESCRIPTIONS.values(), ids=DESCRIPTIONS)
def test_descriptions(tmp_path, changes, field, says):
    path = go2_copy(tmp_path / "mine", changes)
    with pytest.raises(InputError, match=rf"^mine/robot.yaml(: {field})?(:|$)") as error:
        from_yaml(path)
    assert says in str(error.value)
    assert field == "robot.yaml" or error.value.field.startswith(f"mine/robot.yaml: {field.replace(chr(92), '')}")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "mapping"),
        ("- a list", "mapping"),
        ("name: [unitree_go2", "Mend the YAML"),
        ("name: one\nname: two", "'name' stands twice"),
        ("name: !!python/object/apply:os.getcwd []", "Mend the YAML"),
        ("? [a, b]\n: c", "Mend the YAML"),
        (b"name: \xff\xfe", "can be read"),
    ],
)
def test_files_that_are_no_description(tmp_path, text, says):
    path = tmp_path / "robot.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(InputError, match=says):
        from_yaml(path)


NO_RANGE = (' range="', ' user="')
FLOOR = ("<worldbody>", '<worldbody><geom name="floor" type="plane" size="0 0 1"/>')
MOTOR = ("</mujoco>", '<actuator><motor name="m" joint="FL_hip_joint"/></actuator></mujoco>')
ARM = '<body><joint name="arm"/><geom mass="1" size="0.1"/></body>'
WHEEL = (
    '<geom name="FL_foot" class="foot"/>',
    '<geom name="FL_foot" class="foot"/><body><joint name="wheel"/><geom mass="1" size="0.1"/></body>',
)

MODELS = {  # the description's changes, the model's change: the field that is named, and what else the message says
    "no MJCF": ({}, ("<worldbody>", "<world>"), "model", "MuJoCo says"),
    "an impossible inertia": ({}, ("0.02448 0.098077 0.107", "0.02448 0.098077 0.9"), "model", "MuJoCo says"),
    "a base of less than nothing": ({}, ('mass="6.921"', 'mass="-1"'), "model: mass", "more than 0 kg for base"),
    "a base without mass": ({}, ('mass="6.921"', 'mass="0"'), "model: mass", "more than 0 kg for base"),
    "calves without mass": ({}, ('mass="0.241352"', 'mass="0"'), "model: mass", "which FL_calf_joint moves"),
    "a mesh that is not there": (
        {},
        ("<worldbody>", '<asset><mesh name="m" file="trunk.stl"/></asset><worldbody>'),
        "model: mesh",
        "Copy trunk.stl",
    ),
    "a base that is held up": ({}, ('<body name="base"', '<body name="base" gravcomp="1"'), "model: gravity", "Remove gravcomp="),
    "two joints of one name": ({}, ('name="FR_hip_joint"', 'name="FL_hip_joint"'), "model", "repeated name 'FL_hip_joint'"),
    "motors": ({}, MOTOR, "model", "Remove <actuator>"),
    "a floor": ({}, FLOOR, "model", "adds the ground"),
    "a base that is not there": ({"base_body": "bse"}, None, "base_body", "Did you mean base"),
    "the world as a base": ({"base_body": "world"}, None, "base_body", "name of a body"),
    "a leg as a base": ({"base_body": "FL_hip"}, None, "base_body", "freejoint"),
    "no free joint": ({}, ('<freejoint name="floating_base"/>', ""), "base_body", "freejoint"),
    "a sensor that is not there": ({"imu_site": "imu_link"}, None, "imu_site", "Did you mean imu"),
    "no site at all": ({}, ('<site name="imu" pos="-0.02557 0 0.04232"/>', ""), "imu_site", "no named site"),
    "feet that are not there": ({"feet": [f"{foot}s" for foot in FEET]}, None, "feet", "Did you mean FL_foot"),
    "a joint that is not there": ({}, ("_hip_joint", "_hip_jnt"), "joint_names", "Did you mean FL_hip_jnt"),
    "a joint that is not listed": ({}, WHEEL, "joint_names", "List 'wheel'"),
    "a joint that slides": ({}, ('<joint name="FL_calf_joint"', '<joint type="slide" name="FL_calf_joint"'), "joint_names", "hinge"),
    "a joint before the base": ({}, ("<worldbody>", f"<worldbody>{ARM}"), "base_body", "Move the base"),
    "an upper limit wider than the model's": ({}, ('"-1.0472 1.0472"', '"-1.0472 1.0"'), "joint_pos_limit", "FL_hip_joint"),
    "a lower limit wider than the model's": ({}, ('"-1.0472 1.0472"', '"-1.0 1.0472"'), "joint_pos_limit", "FL_hip_joint"),
    "gravity of its own": ({}, ("<default>", '<option gravity="0 0 -1.62"/><default>'), "model: gravity", "Remove gravity="),
    "a range reversed": ({}, ('range="-1.5708 3.4907"', 'range="3.4907 -1.5708"'), "model: range", "Swap them"),
    "feet that touch nothing": ({}, ('type="sphere" size="0.022"', 'conaffinity="0" type="sphere" size="0.022"'), "feet", "conaffinity"),
    "feet that touch something else": ({}, ('type="sphere" size="0.022"', 'conaffinity="2" type="sphere" size="0.022"'), "feet", "ground"),
    "a mirror without signs": ({"mirror": {"swap": SWAP, "negate": []}}, None, "mirror", "misses its place"),
    "a mirror of thighs": ({"mirror": {"swap": SWAP, "negate": ["*_hip_joint", "*_thigh_joint"]}}, None, "mirror", "misses its place"),
    "a mirror that knows no foot": (
        {"feet": {"one": ["FL_foot"], "two": ["FR_foot"], "three": ["RL_foot"], "four": ["RR_foot"]}},
        None,
        "mirror: swap",
        "Add the beginning of the name",
    ),
    "a mirror front to back": ({"mirror": {"swap": {"F": "R"}, "negate": []}}, None, "mirror", "misses its place"),
    "legs of two lengths": ({}, ('name="FL_calf" pos="0 0 -0.213"', 'name="FL_calf" pos="0 0 -0.24"'), "mirror", "misses its place"),
}


@pytest.mark.parametrize(("changes", "model", "field", "says"), MODELS.values(), ids=MODELS)
def test_models(tmp_path, changes, model, field, says):
    robot = from_yaml(go2_copy(tmp_path, changes, model))
    with pytest.raises(InputError, match=f"^{field}:") as error:
        build_spec(robot)
    assert says in str(error.value)


@pytest.mark.parametrize("model", [None, NO_RANGE], ids=["as it is", "without ranges"])
def test_sound_copies_are_accepted(tmp_path, model):
    """Also limits narrower than the model's, and limits of a model that has none."""
    for i, calf in enumerate(([-2.7227, -0.83776], [-2.7, -1.0])):
        limit = {"*_hip_joint": [-0.5, 0.5], "*_thigh_joint": [-0.5, 3.0], "*_calf_joint": calf}
        assert build_spec(from_yaml(go2_copy(tmp_path / str(i), {"joint_pos_limit": limit}, model))).compile().nu == 12


@pytest.mark.parametrize("count", [0, 1, MOST_KNOWN, MOST_KNOWN + 1, 300])
def test_a_remedy_names_all_of_few_and_a_few_of_many(count):
    names = [f"name_{i:03d}" for i in range(count)]
    said = nearest("zz", names, " (--help)")
    named = [name for name in names if name in said]
    if count <= MOST_KNOWN:
        assert named == names
    else:
        assert 0 < len(named) <= 5
        assert said.endswith(f"{count - len(named)} more (--help).")
    if count:
        assert nearest("nam_000", names).startswith("Did you mean name_000")
