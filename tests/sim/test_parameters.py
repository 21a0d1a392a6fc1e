"""The table of physical parameters: what is possible, and what is nominal."""

from sim import PARAMETERS

BOUNDS = {
    "friction": (0.01, 5.0), "base_mass_offset": (-100.0, 500.0), "base_com_offset": (-0.5, 0.5), "kp_scale": (0.05, 20.0),
    "kd_scale": (0.0, 20.0), "motor_strength": (0.0, 5.0), "action_delay": (0.0, 0.06), "ground_slope": (-0.7, 0.7),
}  # fmt: skip
NOMINAL = {"friction": 0.8, "kp_scale": 1.0, "kd_scale": 1.0, "motor_strength": 1.0}  # of the others zero


def test_every_parameter_has_its_bounds_and_is_nominal_within_them():
    assert {name: parameter.bounds for name, parameter in PARAMETERS.items()} == BOUNDS
    for name, parameter in PARAMETERS.items():
        low, high = parameter.bounds
        assert parameter.nominal == NOMINAL.get(name, 0.0)
        assert low <= parameter.nominal <= high
