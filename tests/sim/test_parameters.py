"""The table of physical parameters: what is possible, and what is nominal."""

from sim import PARAMETERS

BOUNDS = {
    "friction": (0.01, 5.0), "restitution": (0.0, 1.0), "base_mass_offset": (-100.0, 500.0), "base_com_offset": (-0.5, 0.5),
    "payload_mass": (0.0, 500.0), "payload_pos": (-2.0, 2.0), "link_mass_scale": (0.1, 10.0), "inertia_scale": (0.1, 10.0),
    "kp_scale": (0.05, 20.0), "kd_scale": (0.0, 20.0), "motor_strength": (0.0, 5.0), "effort_limit_scale": (0.0, 5.0),
    "armature_scale": (0.0, 20.0), "joint_friction_scale": (0.0, 20.0), "joint_damping_scale": (0.0, 20.0),
    "joint_zero_offset": (-0.5, 0.5), "action_delay": (0.0, 0.06), "action_jitter": (0.0, 0.01), "gravity_scale": (0.0, 3.0),
    "ground_slope": (-0.7, 0.7),
}  # fmt: skip
NOMINAL = {"friction": 0.8, "motor_strength": 1.0}  # scales are 1, all others 0


def test_every_parameter_has_its_bounds_and_is_nominal_within_them():
    assert {name: parameter.bounds for name, parameter in PARAMETERS.items()} == BOUNDS
    for name, parameter in PARAMETERS.items():
        low, high = parameter.bounds
        assert parameter.nominal == NOMINAL.get(name, 1.0 if name.endswith("_scale") else 0.0)
        assert low <= parameter.nominal <= high
