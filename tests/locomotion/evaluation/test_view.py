"""What a terminal shows."""

from locomotion.view import print_scores


def test_names_of_figures_are_whole_on_a_narrow_terminal(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "80")
    figures = {"cost_of_transport": 0.5, "torque_saturation": 0.0, "episodes": 36}
    print_scores({engine: {"nominal": figures, "randomized": figures} for engine in ("mujoco", "pybullet")})
    said = capsys.readouterr().out
    assert all(name in said for name in figures)
